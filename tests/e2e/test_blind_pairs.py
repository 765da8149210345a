"""``ftwizard eval RUN --by-hand``: at a terminal key by key, and by a script."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.cli import evaluate as command
from ftwizard.cli import run_job
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan import plan_file
from ftwizard.runs import blind_pairs
from ftwizard.runs.evaluation_files import read_evaluation
from ftwizard.runs.evaluation_job import EvaluationRequest
from tests.e2e.cli import run_here
from tests.e2e.plain_terminal import Pty, environment
from tests.helpers.blind_answers import write_answers
from tests.helpers.results import write_judgment
from tests.screens.monitor.evaluated_runs import evaluate, write_evaluation

HOSTILE = "\x1b]52;c;aGk=\x07[bold]\x1b[2J"


@pytest.fixture
def folder(home: Path) -> JobFolder:
    folder = write_evaluation(home, evaluate([]))
    write_answers(folder, [f"tuned {n} {HOSTILE}" for n in range(20)])
    return folder


@pytest.fixture
def terminal(folder: JobFolder, tmp_path: Path) -> Iterator[Pty]:
    opened = Pty("eval", "one", "--by-hand", environment=environment(tmp_path), cwd=tmp_path)
    yield opened
    opened.close()


def find_key(folder: JobFolder, side: str) -> bytes:
    """Return the key that prefers a model in the pair that is next."""
    pair = blind_pairs.read(folder).next
    assert pair
    return b"a" if pair.side_of_a == side else b"b"


def judge(*more: str) -> subprocess.CompletedProcess[str]:
    return run_here("eval", "one", "--by-hand", *more)


def as_json(*more: str) -> Any:
    done = judge(*more, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_keys_judge_at_once_until_it_is_decided(terminal: Pty, folder: JobFolder) -> None:
    terminal.wait(b"q leave")
    for count in range(1, 9):
        terminal.type(find_key(folder, "tuned"))
        terminal.wait(b"q leave" if count < 8 else b"All is judged")
        assert len(blind_pairs.read(folder).judged) == count
    shown = terminal.sent.decode()
    assert "20 of 20" not in shown and "better:" not in shown  # no score while judging
    assert b"\x1b]52" not in terminal.sent and "␛]52" in shown and "[bold]" in shown
    terminal.type(b"\r")
    assert terminal.code() == 0
    assert "8 of 8 better: decided" in terminal.sent.decode()
    evaluation = read_evaluation(folder)
    assert evaluation and evaluation.by_hand and evaluation.by_hand.outcome == "better"


def test_leaving_keeps_what_was_judged_and_arrows_judge_nothing(
    terminal: Pty, folder: JobFolder
) -> None:
    terminal.wait(b"q leave")
    terminal.type(b"\x1b[A\x1bOBs")
    terminal.wait(b"q leave")
    terminal.type(b"=")
    terminal.wait(b"q leave")
    terminal.type(b"u")
    terminal.wait(b"q leave")
    terminal.type(b"\x03")
    assert terminal.code() == 0
    assert "1 of 20 pairs judged" in terminal.sent.decode()
    (judgment,) = blind_pairs.read(folder).judged.values()
    assert judgment.choice == "skip"
    evaluation = read_evaluation(folder)
    assert evaluation and evaluation.by_hand is None


def test_a_dead_terminal_loses_nothing(terminal: Pty, folder: JobFolder) -> None:
    terminal.wait(b"q leave")
    terminal.type(b"n")
    terminal.wait(b"q leave")
    terminal.hang_up()
    terminal.code()
    assert len(blind_pairs.read(folder).judged) == 1


def test_a_long_answer_is_cut_and_paged_in_full(home: Path, tmp_path: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    write_answers(folder, [f"{'word ' * 400} end-{n}" for n in range(8)])
    terminal = Pty("eval", "one", "--by-hand", environment=environment(tmp_path), cwd=tmp_path)
    try:
        terminal.wait(b"q leave")
        lines = terminal.sent.decode().split("──")[-1].splitlines()
        assert len(lines) <= 24 and all(len(line) <= 80 for line in lines)
        assert b"end-" not in terminal.sent
        terminal.type(b"m")
        for _ in range(2):
            terminal.wait(b"any key: more")
            terminal.type(b" ")
        terminal.wait(b"q leave")
        assert b"end-" in terminal.sent
        terminal.type(b"q")
        assert terminal.code() == 0
    finally:
        terminal.close()
    assert not blind_pairs.read(folder).judged


def test_without_a_terminal_it_says_how_to_judge(folder: JobFolder) -> None:
    done = judge()
    assert done.returncode == 2
    assert "--choose ITEM=KEY" in done.stderr


def test_a_script_judges_the_next_pair_and_sees_no_score_before_the_end(folder: JobFolder) -> None:
    state = as_json()
    assert state["pairs"] == 20 and state["judged"] == 0
    while state["next"]:
        assert state["by_hand"] is None
        key = "a" if state["next"]["a"].startswith("tuned") else "b"
        state = as_json("--choose", f"{state['next']['item']}={key}")
    assert state["by_hand"] == {"better": 8, "worse": 0, "outcome": "better"}
    assert state["judged"] == 8


@pytest.mark.parametrize("value", ["target-1", "target-1=x", "=a", "none=a"])
def test_what_is_no_judgment_is_refused(folder: JobFolder, value: str) -> None:
    done = judge("--choose", value)
    assert done.returncode in (1, 2) and done.stderr
    assert not (folder.evaluations / blind_pairs.FILE).exists()


def test_preference_pairs_are_private_and_replace_nothing(
    folder: JobFolder, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    assert judge("--pairs", str(file)).returncode == 1  # nothing is judged yet
    item = as_json()["next"]["item"]
    as_json("--choose", f"{item}=b")
    assert judge("--pairs", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    (row,) = map(json.loads, file.read_text().splitlines())
    assert set(row) == {"prompt", "chosen", "rejected"}
    assert judge("--pairs", str(file)).returncode == 1
    assert len(file.read_text().splitlines()) == 1


def test_too_few_answers_that_differ_are_said(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    done = judge()
    assert done.returncode == 1 and "0 test answers differ" in done.stderr
    write_answers(folder, ["x", "y"])
    done = judge()
    assert done.returncode == 1 and "2 test answers differ" in done.stderr


def test_an_evaluation_with_the_same_answers_keeps_what_was_judged(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = as_json()
    while state["next"]:
        key = "a" if state["next"]["a"].startswith("tuned") else "b"
        state = as_json("--choose", f"{state['next']['item']}={key}")
    job = write_judgment(folder, 1, evaluate([]), is_result=True)
    write_json(folder.evaluation, evaluate([]))  # as the job does, which knows no judgments
    request = msgspec.convert(job.read_job().inputs, EvaluationRequest)
    case = command._Case(request, plan_file.read_run(folder), folder.path / "jobs")
    monkeypatch.setattr(command, "_make_case", lambda arguments: case)
    monkeypatch.setattr(command, "_check", lambda case: None)
    monkeypatch.setattr(command, "_build_environment", lambda case: {})
    monkeypatch.setattr(run_job, "prepare", lambda *_: job)
    monkeypatch.setattr(run_job, "run", lambda *_: None)
    done = run_here("eval", "one", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["by_hand"] == state["by_hand"]
    evaluation = read_evaluation(folder)
    assert evaluation and evaluation.by_hand and evaluation.by_hand.better == 8
