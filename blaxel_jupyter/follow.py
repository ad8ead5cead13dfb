"""Follow one process's output to its end: every byte, once, whatever the network does.

The raw log files carry the content by byte offset; the log folder's watch wakes the reader while output
is sparse, the clock does while it is dense. Where the raw files cannot be had, the text stream delivers
and the server's log corrects it. The client passes the reads in, so nothing here knows a route or HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import cast

import msgspec

from blaxel_jupyter.ends import End
from blaxel_jupyter.errors import (
    CredentialsError,
    FollowError,
    NotFoundError,
    ProtocolError,
    StatusError,
    TransportError,
    is_passing,
)
from blaxel_jupyter.ledger import HOLE, SMALLEST_SHARE, Ledger, Rows, last_difference
from blaxel_jupyter.process import Origin, Process, Stream, TextDecoder
from blaxel_jupyter.reads import Block, Reads
from blaxel_jupyter.wake import Wake
from blaxel_jupyter.wire import Lines

FILES: tuple[Stream, ...] = ("stdout", "stderr")

BLOCK = 4 << 20
"""Bytes asked for at first; halved when a block takes over 2 s or breaks, doubled when under 0.3 s.

A block counts only when it is complete, so it has to arrive quickly (protocol 4.4).
"""

LARGEST = 8 << 20
"""Bytes asked for at most: a follow holds each block several times over while it is taken apart."""

QUICKEST, SLOWEST = 0.02, 1.25
"""Seconds between two looks whether the process lives: a twentieth of the time it has run, within these."""


WHOLE_READS = 4
"""Reads of a file at the end, until two say the same, where its size is known by its answers alone."""


class Batch(msgspec.Struct, gc=False):
    """What became known in one step: rows in the order of arrival; ``process`` is set on the last one."""

    rows: list[Rows]
    origin: Origin = "live"
    process: Process | None = None


class Follow:
    """One follow of one process.

    Args:
        reads: the calls to the server.
        process: the process's facts at the start.
        ledgers: where the bytes go, for each stream that is wanted; one that has bytes goes on at its
            offset.
        fresh: the process was started just now, so that what is there already counts as live.
        seq: rows that were delivered before, where a follow goes on.
    """

    def __init__(
        self,
        reads: Reads,
        process: Process,
        ledgers: dict[Stream, Ledger],
        *,
        fresh: bool = False,
        seq: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads = reads
        self._process = process
        self._ledgers = ledgers
        self._fresh = fresh
        self._clock = clock
        self._end = End(reads, process, clock)
        self._latest: Origin = "live"
        self._attached: dict[str, int] = {}
        self._lost: set[str] = set()
        self._whole = False  # whether files come whole: then one read alone is not believed
        self._sure = dict.fromkeys(ledgers, 0)  # bytes that are certainly the process's own
        self._limit = BLOCK
        self._delivered = seq

    async def so_far(self) -> AsyncGenerator[Batch, None]:
        """Yield what is there now, without waiting for more."""
        if await self._raw("stdout", 0, 1) is None:
            yield Batch(await self._checked(), "batch")
        else:
            for stream in self._ledgers:
                async with aclosing(self._read(stream)) as read:
                    async for batch in read:
                        yield batch
            await self._end.is_replaced()
        rows = await self._known_lost()
        if rows:
            yield Batch(rows, "batch")

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield what arrives until the process has ended and everything is delivered.

        Raises:
            FollowError: the server could not be reached, or refused, for longer than the reads' patience.
        """
        try:
            probe = await self._raw("stdout", 0, 1)
            follow = self._by_stream() if probe is None else self._by_files(probe.whole)
            async with aclosing(follow) as steps:
                async for batch in steps:
                    self._delivered += sum(len(rows.lines) for rows in batch.rows)
                    yield batch
        except (TransportError, StatusError, ProtocolError, CredentialsError) as error:
            raise FollowError(
                f"Following {self._process.name} stopped after {self._delivered} lines: {error}",
                seq=self._delivered,
            ) from error

    # The raw files ------------------------------------------------------------------------------------

    async def _by_files(self, whole: bool) -> AsyncGenerator[Batch, None]:
        # Of a server that gives whole files one read alone is not believed: there the loop is the first one.
        at_once = self._process.ended is not None and not whole
        ended = await self._end.reached() if at_once else None
        wake = Wake(self._reads.folder, self._process.name, self._ledgers, self._clock)
        began = self._clock()
        probe_at = began + QUICKEST
        try:
            while ended is None:
                grown = await wake.wait(probe_at)
                got = False
                for stream in self._ledgers:
                    if stream in grown:
                        async with aclosing(self._read(stream)) as read:
                            async for batch in read:
                                got = True
                                yield batch
                wake.report(bool(grown), got)
                now = self._clock()
                if not got and now < probe_at and not self._end.replaced:
                    continue
                if not got:
                    ended = await self._end.reached()
                    if ended is not None:
                        break
                slowest = 0.25 if self._end.near else SLOWEST
                pause = self._reads.folder.shared(max((now - began) / 20, QUICKEST))
                probe_at = now + min(pause, slowest)
        finally:
            await wake.aclose()
        async with aclosing(self._last_read(ended)) as last:
            async for batch in last:
                yield batch

    async def _last_read(self, ended: Process) -> AsyncGenerator[Batch, None]:
        """Read both files to the size they have now that the process is over, then close the lines."""
        sizes = self._sizes()
        for stream, ledger in self._ledgers.items():
            for _ in range(WHOLE_READS if self._whole else 1):
                size = ledger.size
                if not self._end.replaced:
                    async with aclosing(self._read(stream)) as read:
                        async for batch in read:
                            yield batch
                if ledger.size == size and stream not in self._lost:
                    break
        if self._sizes() != sizes:
            await self._end.is_replaced()
        if self._end.replaced:
            ended = self._end.lost()
        rows = await self._known_lost()
        for ledger in self._ledgers.values():
            rows += ledger.close()
        yield Batch(rows, self._latest, process=ended)

    async def _known_lost(self) -> list[Rows]:
        """Say what cannot be had any more; what may be a newer process's of that name is taken back."""
        rows: list[Rows] = []
        for stream, ledger in self._ledgers.items():
            if self._end.replaced:
                rows += ledger.take_back(await self._foreign(stream, ledger))
            if self._end.replaced or stream in self._lost:
                rows += ledger.skip(None, ledger.offset)
        return rows

    async def _read(self, stream: Stream) -> AsyncGenerator[Batch, None]:
        """Read a file from the ledger's offset to the size that the first answer tells."""
        ledger = self._ledgers[stream]
        end: int | None = None
        while end is None or ledger.offset < end:
            block = await self._block(stream, ledger.offset)
            if block is None:
                self._lost.add(stream)
                return
            self._lost.discard(stream)
            self._whole |= block.whole
            end = block.total if end is None else min(end, block.total)
            origin = self._origin(stream, block)
            if block.start < ledger.offset and not ledger.agrees(block.data):
                rows = await self._put_right(ledger, block)
                if rows is None:
                    return
                yield Batch(rows, origin)
                end = None
                continue
            if block.total < ledger.offset:
                if await self._end.is_replaced():
                    return
                again = await self._block(stream, ledger.offset)
                if again is None or again.total >= ledger.offset:
                    end = None
                    continue  # that answer was not whole
                end = again.total
                yield Batch(ledger.skip(None, 0), origin)
                continue
            if block.start + len(block.data) <= ledger.offset:
                if block.data:  # Range is not passed on: all of it came again, so ask less often
                    await asyncio.sleep(min(len(block.data) / 5e6, 2.0))
                return
            self._latest = origin
            yield Batch(await self._commit(ledger, block), origin)

    async def _put_right(self, ledger: Ledger, block: Block) -> list[Rows] | None:
        """Believe a file that comes whole, and otherwise than before, if it comes so twice.

        No range tells there what is missing or too much in an answer. None: it is to be read again later.
        """
        if await self._end.is_replaced():
            return None
        again = await self._block(ledger.stream, ledger.offset)
        shared = min(len(block.data), len(again.data)) if again else 0
        if again is None or again.start or not shared or again.data[:shared] != block.data[:shared]:
            self._lost.add(ledger.stream)
            return None
        return ledger.put_right(again.data)

    async def _block(self, stream: str, offset: int) -> Block | None:
        began = self._clock()
        block = await self._raw(stream, offset, self._limit)
        took = self._clock() - began
        if took > 2.0:
            self._limit = max(self._limit // 2, 64 << 10)
        elif took < 0.3:
            self._limit = min(self._limit * 2, LARGEST)
        return block

    async def _raw(self, stream: str, offset: int, limit: int) -> Block | None:
        """Read a block; None where the server says twice that it has no such file."""
        block = await self._reads.raw(stream, offset, limit)
        if block is None and stream not in self._lost:
            await asyncio.sleep(0.1)
            block = await self._reads.raw(stream, offset, limit)
        return block

    async def _foreign(self, stream: Stream, ledger: Ledger) -> int:
        """Count the last bytes that a newer process may have written: they stand in its file, too.

        Where it writes the same as the one before, that is all of them: nobody can tell any more.
        """
        doubtful = ledger.size - self._sure[stream]
        if doubtful <= 0:
            return 0
        looked = min(doubtful, LARGEST)
        start = ledger.offset - looked
        block = await self._raw(stream, start, looked)
        if block is None:
            return doubtful
        theirs = block.data[start - block.start :][:looked]
        if len(theirs) < looked:
            return 0  # a shorter file: all of it was read before
        same = looked - last_difference(ledger.tail(looked), theirs)
        return doubtful if same == looked else same

    def _origin(self, stream: str, block: Block) -> Origin:
        attached = self._attached.setdefault(stream, 0 if self._fresh else block.total)
        return "backfill" if block.start < attached else "live"

    async def _commit(self, ledger: Ledger, block: Block) -> list[Rows]:
        """Commit a block, except the NULs of a head that the server freed (protocol 4.8)."""
        hole = ledger.hole(block.data)
        if hole is None or not await self._is_freed(ledger, block, *hole):
            return ledger.commit(block.start, block.data)
        begin, end = hole
        rows = ledger.commit(block.start, block.data[:begin])
        rows += ledger.skip(end - begin, block.start + end)
        rest = Block(block.start + end, block.data[end:], block.total)
        return rows + (await self._commit(ledger, rest) if rest.data else [])

    async def _is_freed(self, ledger: Ledger, block: Block, begin: int, end: int) -> bool:
        witness = ledger.witness(block.data, begin)
        if witness is None:
            aligned = (block.start + end) % HOLE == 0 or end == len(block.data)
            return (
                begin == 0
                and aligned
                and block.total - block.start - end >= SMALLEST_SHARE - 2 * HOLE
            )
        at, value = witness
        again = await self._reads.raw(ledger.stream, at, 1)
        return again is not None and again.data == b"\0" and value != 0

    # The text stream and the server's log ---------------------------------------------------------------

    async def _by_stream(self) -> AsyncGenerator[Batch, None]:
        """Deliver by the text stream once; after it ends or breaks, by the server's log alone.

        The stream is not opened a second time: it would replay everything, and dropped ones harm
        other answers (protocol 4.4).
        """
        async with aclosing(self._text()) as pieces:
            async for batch in pieces:
                yield batch
        delay = 0.05
        while (ended := await self._end.reached()) is None:
            await asyncio.sleep(delay)
            size = sum(ledger.size for ledger in self._ledgers.values())
            delay = min(max(delay * 1.5, size / 2e6), 10.0)
            if not self._end.near:
                with suppress(NotFoundError):  # no log to be had: said at the end
                    yield Batch(await self._checked(), "batch")
        rows = await self._checked_at_last()
        if self._end.replaced:
            ended = self._end.lost()
            rows += await self._known_lost()
        for ledger in self._ledgers.values():
            rows += ledger.close()
        yield Batch(rows, "batch", process=ended)

    async def _checked_at_last(self) -> list[Rows]:
        for pause in (0.1, 0.5, None):
            try:
                return await self._checked()
            except StatusError as error:
                if is_passing(error):
                    raise
                if pause is not None:
                    await asyncio.sleep(pause)
        return self._unchecked()

    async def _text(self) -> AsyncGenerator[Batch, None]:
        decoder = TextDecoder()
        try:
            async with self._reads.text() as chunks:
                async for chunk in chunks:
                    rows = self._take(decoder.feed(chunk))
                    if rows:
                        yield Batch(rows)
        except (TransportError, StatusError, ProtocolError, CredentialsError):
            pass  # what it did not deliver comes from the server's log
        rows = self._take(decoder.close())
        if rows:
            yield Batch(rows)

    def _take(self, pieces: list[tuple[str, bytes]]) -> list[Rows]:
        rows: list[Rows] = []
        for stream, data in pieces:
            ledger = self._ledgers.get(cast("Stream", stream))
            if ledger is not None:
                rows += ledger.commit(ledger.offset, data)
            elif stream == "system":
                rows.append(Rows("system", Lines(data.strip()), "notice"))
        return rows

    def _unchecked(self) -> list[Rows]:
        """Say that nobody can tell whether the stream was right: the server gives no log."""
        for ledger in self._ledgers.values():
            ledger.unknown_gap = True
        text = b"the stream could not be checked by the server's log: bytes may be missing or wrong"
        return [Rows("system", Lines(text), "gap")]

    async def _checked(self) -> list[Rows]:
        """Compare with the server's log and put right what differs (protocol 4.9)."""
        logs = await self._reads.logs()
        if await self._end.is_replaced():
            return []
        rows = [
            row for stream, ledger in self._ledgers.items() for row in ledger.check(logs[stream])
        ]
        self._sure = self._sizes()
        return rows

    def _sizes(self) -> dict[Stream, int]:
        return {stream: ledger.size for stream, ledger in self._ledgers.items()}
