"""A line to somewhere far away: everything takes its time on it, and little goes at once."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

CHUNK = 512
"""Bytes that go at once."""
UNDER_WAY = 32
"""Chunks that are under way before the sender has to wait: what sockets and routers hold."""
QUICK = 1e6


@contextlib.contextmanager
def line(port: int, *, delay_s: float, bytes_per_s: float) -> Iterator[int]:
    """Give a port of loopback from which ``port`` is ``delay_s`` away, each way, at so many bytes a
    second towards whoever asks."""
    ready: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(
                _carry(reader, there[1], delay_s, QUICK),
                _carry(there[0], writer, delay_s, bytes_per_s),
            )

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        ready.put((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(end.set)))
        await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    found, end = ready.get(timeout=30)
    try:
        yield found
    finally:
        end()
        thread.join()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, rate: float
) -> None:
    now = asyncio.get_running_loop().time
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)

    async def leave() -> None:
        while some := await reader.read(CHUNK):
            await way.put((now() + delay_s, some))
            await asyncio.sleep(len(some) / rate)
        await way.put((now() + delay_s, b""))

    async def arrive() -> None:
        while True:
            due, some = await way.get()
            await asyncio.sleep(due - now())
            if not some:
                writer.close()
                return
            writer.write(some)
            await writer.drain()

    await asyncio.gather(leave(), arrive())
