"""The output stream of the terminal driver."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import termios
import threading
import time

from ftwizard.screens.terminal.driver import DisconnectSafeStream


def _count_waiting(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0])


def test_write_that_a_signal_interrupts_is_completed() -> None:
    """A stop interrupts a write. Python's stderr, unbuffered, then drops the rest of it."""
    reader, writer = os.pipe()
    text = "".join(f"\x1b[{row};1Hé{row}" for row in range(20_000))
    raw = io.FileIO(writer, "w")
    unbuffered = io.TextIOWrapper(raw, "utf-8", write_through=True)
    accepted: list[int] = []
    stream = DisconnectSafeStream(unbuffered, accepted.append)

    def write() -> None:
        stream.write(text)
        stream.flush()
        unbuffered.close()

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        thread = threading.Thread(target=write)
        thread.start()
        end = time.monotonic() + 20
        while _count_waiting(reader) < 1 << 16 and time.monotonic() < end:
            time.sleep(0.005)
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
        time.sleep(0.05)
        with open(reader, "rb") as file:
            assert file.read().decode() == text
        thread.join(20)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert accepted == [len(text.encode())]
