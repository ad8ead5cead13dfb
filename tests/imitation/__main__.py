"""Run an imitation from a shell: ``python -m tests.imitation --port 0``; it prints its URL and serves.

It ends at the end of its input (Ctrl-D), or at SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from tests.imitation.habits import Habits
from tests.imitation.server import serve


async def _main(habits: Habits, port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    url: asyncio.Future[str] = loop.create_future()
    url.add_done_callback(lambda _: print(url.result(), flush=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ended = asyncio.ensure_future(reader.read())
    ended.add_done_callback(lambda _: stop.set())
    await serve(habits, port, url, stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--habits", default="{}", help="JSON object: members of Habits")
    options = parser.parse_args()
    asyncio.run(_main(Habits(**json.loads(options.habits)), options.port))
