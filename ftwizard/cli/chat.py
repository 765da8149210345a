"""``chat``: a conversation with the tuned model of a run, next to its base model."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

import msgspec

from ftwizard.cli import output, progress, run_argument
from ftwizard.cli.chat_lines import LineChat, begin_conversation, list_sides
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.runs import default_run, hosted, watched
from ftwizard.runs.chat_protocol import (
    MAX_NEW_TOKENS,
    AnswerRequest,
    ChatAnswer,
    ChatReport,
    DoneEvent,
    ErrorEvent,
    Event,
    LoadingEvent,
    Request,
    Side,
    StopRequest,
    TextEvent,
)
from ftwizard.text import make_visible

if TYPE_CHECKING:
    from ftwizard.evaluate.chat import ChatModels
    from ftwizard.evaluate.hosted_chat import HostedModels
    from ftwizard.jobs.folder import JobFolder

MAX_REQUEST_BYTES = 8 << 20


def chat(arguments: argparse.Namespace) -> int:
    """Open the chat, answer one prompt, or serve requests on standard input."""
    folder = run_argument.find(arguments.run, default_run.choose_chatted)
    watched.require_own(folder, "asked")
    if arguments.prompt is not None:
        return _answer_once(folder, arguments)
    if arguments.json:
        return _serve(folder, arguments)
    if output.wants_screens(arguments) and arguments.checkpoint is None:
        route = ("chat", str(folder.path))
        return int(arguments.open_screens(route, arguments.ascii, slow=arguments.slow))
    if not (output.has_terminal() or arguments.plain):
        raise FtwizardError(
            "chat needs a terminal.",
            f"To answer one prompt: ftwizard chat {folder.id} --prompt TEXT. To read lines from "
            "standard input: --plain",
            USAGE,
        )
    with _own_stdout(), progress.reporter() as say:
        models = _load(folder, arguments, lambda part: say("loading", what=part))
    return LineChat(folder, models, arguments).run()


def _answer_once(folder: JobFolder, arguments: argparse.Namespace) -> int:
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    if not prompt.strip():
        raise FtwizardError("The prompt is empty.", "Pass a text: --prompt TEXT", USAGE)
    answers: dict[Side, ChatAnswer] = {}
    with _own_stdout(), progress.reporter() as say:
        models = _load(folder, arguments, lambda part: say("loading", what=part))
        conversation = begin_conversation(models.ready, arguments)
        conversation.add(prompt, list_sides(models.ready))
        for request in conversation.build_requests(arguments.max_tokens or MAX_NEW_TOKENS):
            say("answering", what=f"{request.side} model")
            answers[request.side] = models.answer(request)
    report = ChatReport(
        run=folder.id, prompt=prompt, system=conversation.system, tuned=answers["tuned"],
        base=answers.get("base"),
    )  # fmt: skip
    for note in models.ready.notes:
        print(f"! {make_visible(note)}", file=sys.stderr)
    lines = [answers["tuned"].text]
    if len(answers) > 1:
        lines = ["tuned:", *lines, "", "base:", answers["base"].text]
    output.print_report(arguments, report, lines)
    return 0


def _load(
    folder: JobFolder, arguments: argparse.Namespace, say: Callable[[str], None]
) -> ChatModels | HostedModels:
    base, checkpoint = arguments.base, arguments.checkpoint
    if hosted.read_served(folder):
        from ftwizard.evaluate import hosted_chat

        return hosted_chat.load(folder, base=base, say=say, checkpoint=checkpoint)
    if checkpoint is not None:
        raise FtwizardError(
            f"The model of run {folder.id} is on this machine.",
            f"Evaluate the checkpoint instead: ftwizard eval {folder.id} --checkpoint {checkpoint}",
            USAGE,
        )
    try:
        from ftwizard.evaluate.chat import load
    except ImportError as error:
        from ftwizard.errors import MissingExtra

        raise MissingExtra("local", error.name or "torch") from error
    return load(folder, base=base, say=say)


@contextlib.contextmanager
def _own_stdout() -> Iterator[IO[bytes]]:
    """Yield standard output; meanwhile, what libraries print there goes to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(saved, "wb", buffering=0, closefd=False) as file:
            yield file
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


# --------------------------------------------------------------------- requests by line


def _serve(folder: JobFolder, arguments: argparse.Namespace) -> int:
    """Answer the requests on standard input until it ends; write events to standard output."""
    with _own_stdout() as out:

        def send(event: Event) -> None:
            out.write(msgspec.json.encode(event) + b"\n")

        requests = _RequestReader(sys.stdin.buffer)  # from now on: the caller may end meanwhile
        models = _load(folder, arguments, lambda part: send(LoadingEvent(part=part)))
        send(models.ready)
        for request in requests:
            _answer(models, request, requests, send)
    return 0


def _answer(
    models: ChatModels | HostedModels,
    request: AnswerRequest,
    requests: _RequestReader,
    send: Callable[[Event], None],
) -> None:
    try:
        answer = models.answer(
            request,
            lambda text: send(TextEvent(id=request.id, text=text)),
            requests.is_stopped,
        )
    except FtwizardError as error:
        send(ErrorEvent(id=request.id, message=error.message, hint=error.hint))
    except RuntimeError as error:  # torch: out of GPU memory, above all
        message = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "Start a new conversation, or close other programs that use the GPU."
        send(ErrorEvent(id=request.id, message=make_visible(message, 300), hint=hint))
    else:
        send(DoneEvent(id=request.id, **msgspec.structs.asdict(answer)))


class _RequestReader:
    """Requests from a stream, read in a thread so that a stop acts on the answer in progress."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._queue: queue.Queue[tuple[int, AnswerRequest] | None] = queue.Queue()
        self._read_count = self._stopped_count = self._current = 0
        threading.Thread(target=self._read, daemon=True).start()

    def is_stopped(self) -> bool:
        """Return whether a stop came after the request in progress."""
        return self._current <= self._stopped_count

    def __iter__(self) -> Iterator[AnswerRequest]:
        while (item := self._queue.get()) is not None:
            self._current, request = item
            if not self.is_stopped():
                yield request

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(Request)
        for line in iter(lambda: self._stream.readline(MAX_REQUEST_BYTES), b""):
            try:
                request = decoder.decode(line)
            except msgspec.MsgspecError as error:
                print(f"ftwizard: not a request: {make_visible(str(error), 300)}", file=sys.stderr)
                continue
            if isinstance(request, StopRequest):
                self._stopped_count = self._read_count
            else:
                self._read_count += 1
                self._queue.put((self._read_count, request))
        self._queue.put(None)
