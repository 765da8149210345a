"""Loopback TCP proxy with latency and limited bandwidth."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

CHUNK = 512
"""Bytes forwarded at once."""
MAX_IN_FLIGHT = 32
"""Chunks in flight before the sender has to wait, as in the buffers of sockets and routers."""
QUICK = 1e6


@contextlib.contextmanager
def slow_link(port: int, *, delay_s: float, bytes_per_s: float) -> Iterator[int]:
    """Yield a loopback port that forwards to ``port``: ``delay_s`` each way, and ``bytes_per_s``
    toward the client."""
    ready: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            server_streams = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(
                _carry(reader, server_streams[1], delay_s, QUICK),
                _carry(server_streams[0], writer, delay_s, bytes_per_s),
            )

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        ready.put((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(end.set)))
        await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    slow_port, end = ready.get(timeout=30)
    try:
        yield slow_port
    finally:
        end()
        thread.join()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, rate: float
) -> None:
    now = asyncio.get_running_loop().time
    in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_IN_FLIGHT)

    async def send() -> None:
        while chunk := await reader.read(CHUNK):
            await in_flight.put((now() + delay_s, chunk))
            await asyncio.sleep(len(chunk) / rate)
        await in_flight.put((now() + delay_s, b""))

    async def receive() -> None:
        while True:
            due, chunk = await in_flight.get()
            await asyncio.sleep(due - now())
            if not chunk:
                writer.close()
                return
            writer.write(chunk)
            await writer.drain()

    await asyncio.gather(send(), receive())
