"""HTTP server on loopback, in a thread of the test process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STOP_POLL_S = 0.02
"""How long the end of a test waits for its server at most."""


class SilentHandler(BaseHTTPRequestHandler):
    """Answers HTTP/1.1 requests without logging them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for the acknowledgment of its head

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer a request."""
        raise NotImplementedError

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        """Send a response, without its data for HEAD."""
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.write(data, status, headers)

    def write(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        """Write the data of a response."""
        self.wfile.write(data)


class PatientServer(ThreadingHTTPServer):
    """A server that many clients may reach at the same moment: by default, a sixth is reset."""

    request_queue_size = 128


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """Serve until the block ends; yield the port, by default a free one."""
    server = PatientServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
