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
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.runs import chat_protocol, default_run
from ftwizard.runs.chat_protocol import (
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
from ftwizard.text import make_lines_visible, make_visible

if TYPE_CHECKING:
    from ftwizard.evaluate.chat import ChatModels
    from ftwizard.jobs.folder import JobFolder

MAX_REQUEST_BYTES = 8 << 20


def chat(arguments: argparse.Namespace) -> int:
    """Open the chat, answer one prompt, or serve requests on standard input."""
    folder = run_argument.find(arguments.run, default_run.choose_chatted)
    if arguments.prompt is not None:
        return _answer_once(folder, arguments)
    if arguments.json:
        return _serve(folder, arguments.base)
    if output.wants_screens(arguments):
        route = ("chat", str(folder.path))
        return int(arguments.open_screens(route, arguments.ascii, slow=arguments.slow))
    if not output.has_terminal():
        raise FtwizardError(
            "chat needs a terminal.",
            f"To answer one prompt: ftwizard chat {folder.id} --prompt TEXT",
            USAGE,
        )
    return _talk(folder, arguments)


def _answer_once(folder: JobFolder, arguments: argparse.Namespace) -> int:
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    if not prompt.strip():
        raise FtwizardError("The prompt is empty.", "Pass a text: --prompt TEXT", USAGE)
    answers: dict[Side, ChatAnswer] = {}
    with _own_stdout(), progress.reporter() as say:
        models = _load(folder, arguments.base, lambda part: say("loading", what=part))
        system = None if arguments.no_system else models.ready.system
        messages = _build_messages(system, [prompt], [])
        for side in _list_sides(models):
            say("answering", what=f"{side} model")
            answers[side] = models.answer(_to_request(side, messages, arguments.max_tokens))
    report = ChatReport(
        run=folder.id, prompt=prompt, system=system, tuned=answers["tuned"],
        base=answers.get("base"),
    )  # fmt: skip
    for note in models.ready.notes:
        print(f"! {make_visible(note)}", file=sys.stderr)
    lines = [answers["tuned"].text]
    if len(answers) > 1:
        lines = ["tuned:", *lines, "", "base:", answers["base"].text]
    output.print_report(arguments, report, lines)
    return 0


def _load(folder: JobFolder, base: bool, say: Callable[[str], None]) -> ChatModels:
    try:
        from ftwizard.evaluate.chat import load
    except ImportError as error:
        from ftwizard.errors import MissingExtra

        raise MissingExtra("local", error.name or "torch") from error
    return load(folder, base=base, say=say)


def _list_sides(models: ChatModels) -> list[Side]:
    return ["tuned", "base"] if models.ready.has_base else ["tuned"]


def _build_messages(
    system: str | None, prompts: list[str], answers: list[str]
) -> list[dict[str, object]]:
    """Return a conversation: each prompt, and the answers to all but the last."""
    messages: list[dict[str, object]] = []
    if system:
        messages.append({"role": "system", "content": system})
    for index, prompt in enumerate(prompts):
        messages.append({"role": "user", "content": prompt})
        if index < len(answers):
            messages.append({"role": "assistant", "content": answers[index]})
    return messages


def _to_request(
    side: Side, messages: list[dict[str, object]], limit: int | None, id: int = 0
) -> AnswerRequest:
    limit = limit or chat_protocol.MAX_NEW_TOKENS
    return AnswerRequest(id=id, side=side, messages=messages, max_new_tokens=limit)


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


def _serve(folder: JobFolder, base: bool) -> int:
    """Answer the requests on standard input until it ends; write events to standard output."""
    with _own_stdout() as out:

        def send(event: Event) -> None:
            out.write(msgspec.json.encode(event) + b"\n")

        requests = _RequestReader(sys.stdin.buffer)  # from now on: the caller may end meanwhile
        models = _load(folder, base, lambda part: send(LoadingEvent(part=part)))
        send(models.ready)
        for request in requests:
            _answer(models, request, requests, send)
    return 0


def _answer(
    models: ChatModels,
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


# --------------------------------------------------------------------- lines on a terminal


COMMANDS = "Empty line: quit. /new: new conversation. /system: system prompt on or off."


def _talk(folder: JobFolder, arguments: argparse.Namespace) -> int:
    """Hold a conversation line by line, for terminals without screens."""
    with _own_stdout(), progress.reporter() as say:
        models = _load(folder, arguments.base, lambda part: say("loading", what=part))
    ready = models.ready
    system = None if arguments.no_system else ready.system
    out = output.make_console()
    output.print_lines(
        out, *(f"! {note}" for note in ready.notes), *_describe_system(system), COMMANDS
    )
    prompts: list[str] = []
    answers: dict[Side, list[str]] = {side: [] for side in _list_sides(models)}
    while True:
        try:
            text = input("\nyou> ").strip()
        except EOFError:
            return 0
        if not text:
            return 0
        if text in ("/new", "/system"):
            prompts.clear()
            for earlier in answers.values():
                earlier.clear()
            if text == "/system":
                system = ready.system if system is None else None
                output.print_lines(out, *_describe_system(system))
            continue
        prompts.append(text)
        for side, earlier in answers.items():
            messages = _build_messages(system, prompts, earlier)
            earlier.append(_print_answer(models, _to_request(side, messages, arguments.max_tokens)))


def _describe_system(system: str | None) -> list[str]:
    if system is None:
        return ["No system prompt."]
    return [f"System prompt of the training data: {make_visible(system, 300)}"]


def _print_answer(models: ChatModels, request: AnswerRequest) -> str:
    """Print an answer as it is generated; ctrl+c stops it."""
    shown = ""

    def show(text: str) -> None:
        nonlocal shown
        if text.startswith(shown):
            print(make_lines_visible(text[len(shown) :]), end="", flush=True)
            shown = text

    print(f"{request.side}> ", end="", flush=True)
    try:
        answer = models.answer(request, show).text
    except KeyboardInterrupt:
        answer = shown
    show(answer)
    print("" if answer else "(empty)")
    return answer
