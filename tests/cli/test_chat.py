"""The chat line by line, from a pipe, with a real, tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.helpers import training


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    return training.train(tmp_path_factory.mktemp("chat"), "run", training=16, samples={"count": 0})


def start(run: JobFolder, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ftwizard", "chat", str(run.path), "--base", "--plain", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip


def test_commands_from_a_pipe(run: JobFolder, tmp_path: Path) -> None:
    root = run.path.parent
    while not (root / "train.jsonl").exists():
        root = root.parent
    original = (root / "train.jsonl").read_bytes()
    other = tmp_path / "scores.jsonl"
    other.write_text('{"prompt": "a", "completion": "b", "score": 1}\n')
    lines = [
        "/again", "/systm", "3: the cat sat", "/again", "/temperature 9", "/temperature 0.5",
        "/system Answer in\u202e French.", "3: the cat sat", "/add", "Le chat.",
        f"/add {other}", "", f"/add {root / 'train.jsonl'}", "Non.", "n", "/system", "/new", "/add",
    ]  # fmt: skip
    shown, _ = start(run, "--max-tokens", "4").communicate("\n".join(lines), timeout=120)
    assert "✗ There is no prompt yet." in shown
    assert "✗ There is no command /systm. Did you mean /system?" in shown
    assert shown.count("tuned> ") == shown.count("base> ") == 3
    assert "Answer 2, temperature 0.7:" in shown and "(cut off after 4 tokens)" in shown
    assert "from 0 (greedy) to 2" in shown and "Decoding: temperature 0.5" in shown
    assert "System prompt: Answer in<U+202E>" in shown or "\u202e" not in shown
    assert "Created" in shown and "run-additions.jsonl (chat messages)." in shown
    assert "Train on all rows: cat " in shown
    assert "system prompt, earlier turns or tools" in shown
    assert "Nothing was added." in shown and (root / "train.jsonl").read_bytes() == original
    (row,) = (json.loads(text) for text in (root / "run-additions.jsonl").read_text().splitlines())
    system, first, earlier, again, answer = row["messages"]
    assert (system["role"], first["content"]) == ("system", "3: the cat sat")
    assert (earlier["role"], earlier["weight"], again) == ("assistant", 0, first)
    assert answer == {"role": "assistant", "content": "Le chat."}


def test_ctrl_c_stops_the_answer_and_not_the_chat(run: JobFolder) -> None:
    child = start(run, "--max-tokens", "480")
    assert child.stdin and child.stdout
    watchdog = threading.Timer(120, child.kill)
    watchdog.start()
    shown = ""
    try:
        child.stdin.write("hello\n")
        child.stdin.flush()
        while not shown.endswith("tuned> "):
            character = child.stdout.read(1)
            assert character, shown
            shown += character
        os.kill(child.pid, signal.SIGINT)
        child.stdin.write("/new\n")
        child.stdin.close()
        shown += child.stdout.read()
        assert child.wait() == 0
    finally:
        watchdog.cancel()
        child.kill()
    assert "(stopped)" in shown and "base> " not in shown, "the other answer is not begun"
    assert "New conversation." in shown
