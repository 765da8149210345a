"""The child process of a chat: ``ftwizard chat RUN --json``, with requests and events by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.runs.chat_protocol import Event, Request
from ftwizard.screens import subprocesses

MAX_LINE_BYTES = 16 << 20


class ChatProcess:
    """Loads the models of a run in a child process, and passes requests and events."""

    def __init__(self, run: str, on_event: Callable[[Event], None]) -> None:
        """``on_event`` is called for each event; ``run`` is the folder of the run."""
        self._run, self._on_event = run, on_event
        self._child: asyncio.subprocess.Process | None = None
        self._is_closed = False

    async def run(self) -> None:
        """Run until the child ends; raise FtwizardError if it fails. Canceling ends it."""
        try:
            child = self._child = await asyncio.create_subprocess_exec(
                *launch.get_python_command(), "-m", "ftwizard", "chat", self._run, "--base", "--json",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=subprocesses.environment("chat", arguments=[self._run]),
                start_new_session=True,
                limit=MAX_LINE_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise subprocesses.to_start_error("chat", error) from error
        assert child.stdout and child.stderr
        errors = asyncio.create_task(child.stderr.read())
        try:
            rest = await self._read(child.stdout)
            await child.wait()
            if self._is_closed:
                return
            if child.returncode == -signal.SIGKILL:
                raise FtwizardError(
                    "The process with the models was killed; the system does so if memory runs out.",
                    "Close other programs that use much memory.",
                )
            document = subprocesses.decode_document(
                "chat", child.returncode or 0, rest, await errors
            )
            raise FtwizardError(f"The chat ended unexpectedly: {document}", "Open it again.")
        finally:
            errors.cancel()
            await self.close()

    async def _read(self, stream: asyncio.StreamReader) -> bytes:
        """Pass on the events; return the other lines, such as those of an error document."""
        decoder, rest = msgspec.json.Decoder(Event), b""
        async for line in stream:
            try:
                event = decoder.decode(line)
            except msgspec.MsgspecError:
                rest += line
            else:
                self._on_event(event)
        return rest

    def send(self, request: Request) -> None:
        """Send a request; a child that has ended takes none."""
        if self._child and self._child.stdin and not self._child.stdin.is_closing():
            self._child.stdin.write(msgspec.json.encode(request) + b"\n")

    async def close(self) -> None:
        """End the child with all its threads; it has nothing to save."""
        child, self._is_closed = self._child, True
        if child is None:
            return
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if child.stdin:
            child.stdin.close()
        await child.wait()
