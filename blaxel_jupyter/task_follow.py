"""Follow a task run to its end: stream, reconnect, and a last batch read for what is missing.

The service gives no cursor and promises no replay (tasks protocol 2.7), so each connection is compared
with the record, beside a batch read that tells what is past. ``/status`` is the truth about the end.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from blaxel_jupyter.ending import end
from blaxel_jupyter.errors import BlaxelError, ProtocolError, StatusError, is_passing_there
from blaxel_jupyter.fold import TERMINAL
from blaxel_jupyter.json_values import is_json
from blaxel_jupyter.replays import HEADS, Held, Replay, Sorter, is_told, key_of
from blaxel_jupyter.task import ENDED, TaskStatus, status_of
from blaxel_jupyter.task_events import Event
from blaxel_jupyter.task_log import TaskLog, read_data
from blaxel_jupyter.task_runs import TaskRun
from blaxel_jupyter.wire import SseDecoder, SseEvent

IDLE = 15.0
"""Seconds of silence after which ``/status`` is asked; silence itself is no failure."""

BATCH_PATIENCE = 5.0
"""Seconds that a connection waits for the batch read that tells what is past."""

FRESH = 0.05
"""Seconds after its creation in which a run's stream must be open for all of its events to be live."""

AT_ONCE = 0.25
"""Seconds for which a stream is given time to begin, before the batch read is recorded instead."""

LINGER = 2.0
"""Seconds for which a stream may stay open after its last event."""

SHORT_PAUSE = 0.05
LONGEST_PAUSE = 30.0
"""Seconds between two connections of which the first brought nothing new."""


class Reads(Protocol):
    """What a follow reads, bound to one run; ``status`` and ``log`` repeat what may pass."""

    async def status(self) -> TaskStatus:
        """Read how the run stands."""

    async def log(self) -> TaskLog:
        """Read the whole batch log."""

    async def glance(self) -> TaskLog:
        """Read the batch log once."""

    def stream(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the event stream."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    events: list[Event]
    at: int


_Chunks = MemoryObjectReceiveStream[_Chunk]


class TaskFollow:
    """Follow one run; what is new is recorded in it as it comes.

    Args:
        reads: how to read it.
        run: where to record.
        created: when the run was asked for, on the monotonic clock; None if that was not here.
        clock: UTC microseconds; the run's own if None.
    """

    def __init__(
        self,
        reads: Reads,
        run: TaskRun,
        *,
        created: float | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._reads = reads
        self._run = run
        self._created = created
        self._clock = clock or run.clock.now
        self._held = Held(run.read_events())
        self._delivered = self._cut = False
        self._asked = 0.0

    async def new(self) -> AsyncGenerator[Sequence[int], None]:
        """Yield the ``seq`` of new events each time some were recorded, until the run has ended.

        Raises:
            StatusError: the service refuses: 401, 403, 404.
            TransportError: it could not be reached for too long.
        """
        pause = 0.0
        ended = not self._is_fresh() and (await self._status()).ended
        while not ended:
            async with aclosing(self._connection()) as news:
                async for seqs in news:
                    if seqs:
                        pause = 0.0
                        yield seqs
            ended = (await self._settled(await self._status())).ended
            if not ended:
                await asyncio.sleep(max(pause * random.uniform(0.7, 1.3), self._asked))
                # A cut may come at once again; a stream that ends by itself, or cannot be opened, waits.
                cut = self._cut and self._delivered
                pause = SHORT_PAUSE if cut else min(max(pause * 2, 0.1), LONGEST_PAUSE)
        seqs = await self._complete()
        if seqs:
            yield seqs

    def _is_fresh(self) -> bool:
        """Whether the run was created so short a time ago that all of it may count as live."""
        return self._created is not None and time.monotonic() - self._created < FRESH

    async def _status(self) -> TaskStatus:
        status = await self._reads.status()
        self._run.take_status(status)
        return status

    async def _settled(self, status: TaskStatus) -> TaskStatus:
        """Give the status time to follow the last event, which may come a moment before."""
        deadline = time.monotonic() + LINGER
        while self._held.ended and not status.ended and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            status = await self._status()
        return status

    # One connection -------------------------------------------------------------------------------------

    async def _connection(self) -> AsyncGenerator[Sequence[int], None]:
        """Record what one connection brings that is new; return when it ends, however it does."""
        self._delivered = False
        sender, chunks = anyio.create_memory_object_stream[_Chunk](256)
        opened = asyncio.Event()
        reader = asyncio.create_task(self._read(sender, opened))
        try:
            if await _first(opened.wait(), reader):
                fresh = self._is_fresh()
                past = await self._glance(fresh=fresh)
                async with aclosing(self._sorted(chunks, past, fresh)) as news:
                    async for seqs in news:
                        yield seqs
        finally:
            chunks.close()
            await end(reader)
        error = None if reader.cancelled() else reader.exception()
        self._cut = error is not None
        self._asked = error.retry_after if isinstance(error, StatusError) else 0.0
        if error is not None and not (isinstance(error, BlaxelError) and is_passing_there(error)):
            raise error
        self._run.tell_trouble("connection lost; trying again" if error else None)

    async def _read(self, sender: MemoryObjectSendStream[_Chunk], opened: asyncio.Event) -> None:
        """Read the stream, chunk by chunk; an event that was cut at its end comes again elsewhere."""
        decoder, notes = SseDecoder(), Counter[str]()
        async with sender:
            async with self._reads.stream() as pieces:
                opened.set()
                async for piece in pieces:
                    await self._send(sender, decoder.feed(piece), notes)
            await self._send(sender, [sse for sse in decoder.close() if is_json(sse.data)], notes)

    async def _send(
        self, sender: MemoryObjectSendStream[_Chunk], found: list[SseEvent], notes: Counter[str]
    ) -> None:
        events = [event for sse in found for event in read_data(sse.data, notes, sse.name)]
        self._run.note_all(notes)
        notes.clear()
        self._delivered |= bool(events)
        if events:
            await sender.send(_Chunk(events, self._clock()))

    async def _glance(self, *, fresh: bool) -> TaskLog | None:
        """Read the batch log once, to know what is past; None where that does not work just now.

        Read after the stream was opened: a stream that was opened while the run was going on is live,
        one of a run that has ended is made up from its messages, with other ids.
        """
        with suppress(BlaxelError, TimeoutError):
            async with asyncio.timeout(BATCH_PATIENCE):
                if not fresh:
                    return await self._reads.glance()
                status = await self._status()
                return TaskLog(status=status.status_raw, source="buffer")
        return None

    async def _sorted(
        self, chunks: _Chunks, past: TaskLog | None, fresh: bool
    ) -> AsyncGenerator[Sequence[int], None]:
        """Record what is new of a connection's chunks, and of the batch read if they do not tell it."""
        sorter = Sorter(self._held, past.events if past else None, self._clock(), live=fresh)
        chunk, is_open = None, True
        try:
            chunk = await self._receive(chunks, AT_ONCE if past else IDLE)
        except anyio.EndOfStream:
            is_open = False
        if past is not None and _is_over(past) and not (chunk and chunk.events[0].type in HEADS):
            return  # made up from the messages: the batch read at the end tells it better
        if past is not None and not (chunk and sorter.is_replay(chunk.events[0])):
            yield self._record_batch(past)
        try:
            while chunk is None and is_open:
                if (await self._status()).ended:
                    return
                chunk = await self._receive(chunks, IDLE)
            if chunk is None:
                return
            aligned = past is not None and past.source == "buffer"
            if not aligned and not sorter.is_replay(chunk.events[0]):
                return  # nothing tells exactly what was before it: read again
            waiting = [chunk, *_waiting(chunks)]
            if not fresh and not sorter.is_replay(chunk.events[0]):
                waiting += await self._gathered(chunks)
            sorter.begin([event for one in waiting for event in one.events])
            for one in waiting:
                yield self._record(*sorter.sort(one.events, one.at))
            if self._run.status == "queued":
                await self._status()  # its events say that it has begun
            while True:
                chunk = await self._receive(chunks, LINGER if self._held.ended else IDLE)
                if chunk is not None:
                    yield self._record(*sorter.sort(chunk.events, chunk.at))
                elif self._held.ended or (await self._status()).ended:
                    return
        except anyio.EndOfStream:
            return

    @staticmethod
    async def _receive(chunks: _Chunks, patience: float) -> _Chunk | None:
        """Wait for a chunk; None after ``patience`` seconds.

        Raises:
            anyio.EndOfStream: the connection has ended and everything was received.
        """
        with anyio.move_on_after(patience):
            return await chunks.receive()
        return None

    async def _gathered(self, chunks: _Chunks) -> list[_Chunk]:
        """Listen a little longer: the more was heard, the surer it is found in the batch read."""
        found: list[_Chunk] = []
        with anyio.move_on_after(AT_ONCE), suppress(anyio.EndOfStream):
            while True:
                found.append(await chunks.receive())
        return found

    # Recording ------------------------------------------------------------------------------------------

    def _record(
        self, events: list[Event], times: Sequence[int | None] = (), source: str = "stream"
    ) -> Sequence[int]:
        if not events:
            return ()
        for event in events:
            self._held.add(event)
        self._run.source = source if self._run.source in (None, source) else "merged"
        first = self._run.record(events, source, times)
        return range(first, first + len(events))

    def _record_batch(self, log: TaskLog) -> Sequence[int]:
        """Record what a batch log has beyond the record."""
        self._run.take_log(log)
        replay = self._replay_of(log)
        news = [new for event in log.events if (new := replay.new(event)) is not None]
        return () if replay.diverged else self._record(news, (), log.source or "buffer")

    def _replay_of(self, log: TaskLog) -> Replay:
        # Only the buffer has the blocks' own ids and frames (tasks protocol 3.5).
        return Replay(self._held, whole=log.source != "buffer")

    async def _complete(self) -> Sequence[int]:
        """Fill in what the last batch read has and the record lacks, usually the last event."""
        try:
            log = await self._reads.log()
        except BlaxelError as error:
            if not self._held.ended:
                raise
            self._run.note(f"the log could not be read again after the end: {error}")
            return ()
        self._run.take_log(log)
        replay = self._replay_of(log)
        told = [(event, replay.new(event)) for event in log.events]
        if replay.diverged and log.whole:
            return self._rebuilt(log, [new is not None for _, new in told])
        seqs = self._record([new for _, new in told if new], (), log.source or "buffer")
        if not log.whole and not self._held.ended:
            raise ProtocolError(
                f"The log of run {self._run.run_id} came cut, after {len(log.events)} events, which "
                "are kept. Read it again."
            )
        return seqs

    def _rebuilt(self, log: TaskLog, is_new: list[bool]) -> Sequence[int]:
        """Make the log the record, where the streams missed something in the middle.

        What only the streams had is kept: when a tool's events came, and the events that no log tells.
        """
        run, old = self._run, self._run.read_events()
        came = run.events.column("received")
        times = {key_of(event): at for event, at in zip(old, came, strict=True)}
        said = Held(log.events)
        only = [event for event in old if not is_told(event) and not said.counts[key_of(event)]]
        heads = [event for event in only if event.type in HEADS]
        others = [event for event in only if event.type not in HEADS | TERMINAL]
        last = [event for event in log.events if event.type in TERMINAL]
        body = [event for event in log.events if event.type not in TERMINAL]
        events = [*heads, *body, *others, *last]
        run.start_again()
        self._held = Held(events)
        run.record(events, "merged", [times.get(key_of(event)) for event in events])
        run.source = "merged"
        run.note("the streams missed a part: the log that was read at the end is the record")
        new = {id(event) for event, fresh in zip(log.events, is_new, strict=True) if fresh}
        return [seq for seq, event in enumerate(events) if id(event) in new]


async def _first(wanted: Coroutine[Any, Any, object], other: asyncio.Task[Any]) -> bool:
    """Wait for one thing, or the end of a task; tell whether it came."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        await end(task)


def _is_over(log: TaskLog) -> bool:
    """Whether a stream that was opened before this was read may be one of a run that had ended."""
    return status_of(log.status) in ENDED or log.source == "reconstructed"


def _waiting(chunks: _Chunks) -> list[_Chunk]:
    """Take what has been received already."""
    found: list[_Chunk] = []
    with suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            found.append(chunks.receive_nowait())
    return found
