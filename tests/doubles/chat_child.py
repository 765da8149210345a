"""Fake ``ftwizard chat RUN --json``: the real messages, with answers made from the request.

``python chat_child.py HOW -m ftwizard chat RUN --base --json``; HOW is ``well``, ``slow`` (answers only
begin), ``dies`` (killed after its first words), ``loads`` (forever) or ``fails``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from ftwizard.runs.chat_protocol import (
    AnswerRequest,
    DoneEvent,
    ErrorEvent,
    Event,
    LoadingEvent,
    ReadyEvent,
    Request,
    TextEvent,
)

ANSWERS = {
    "tuned": '{"team": "billing"}',
    "base": "Dear customer, thank you for your message. " * 3,
}


def send(event: Event) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()


def answer(request: AnswerRequest, how: str) -> None:
    log = Path(os.environ["FTWIZARD_HOME"]) / "requests.jsonl"
    with log.open("ab") as file:
        file.write(msgspec.json.encode(request) + b"\n")
    text = ANSWERS[request.side]
    if request.temperature:
        text = f"another {text}"
    send(TextEvent(id=request.id, text=text[:8]))
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if "too long" in str(request.messages):
        send(ErrorEvent(id=request.id, message="It has 9,000 tokens.", hint="Start anew."))
    elif how == "well":
        send(DoneEvent(id=request.id, text=text, reason="end", tokens=7, seconds=1.0))


def main(how: str) -> None:
    if how == "fails":
        print('{"error": {"message": "The model needs about 9.0 GB of memory.", "hint": "Close."}}')
        raise SystemExit(1)
    send(LoadingEvent(part="tuned model"))
    if how == "loads":
        sys.stdin.buffer.read()
    print("a library prints something")
    sys.stdout.flush()
    send(
        ReadyEvent(
            run="one", base_name="owner/model", step=40, device="CPU", has_base=True,
            has_template=True, system="Route this ticket.", busy=["other"],
        )
    )  # fmt: skip
    decoder = msgspec.json.Decoder(Request)
    waiting: AnswerRequest | None = None
    for line in sys.stdin.buffer:
        request = decoder.decode(line)
        if isinstance(request, AnswerRequest):
            waiting = waiting or request
            answer(request, how) if how == "well" or waiting is request else None
        elif waiting:
            text = ANSWERS[waiting.side][:8]
            send(DoneEvent(id=waiting.id, text=text, reason="stopped", tokens=2, seconds=0.5))
            waiting, how = None, "well"


if __name__ == "__main__":
    main(sys.argv[1])
