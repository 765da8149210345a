"""Child process of a grader: scores, limits, and what goes wrong in the code of a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import read_grader
from ftwizard.graders.process import GraderProcess


@contextmanager
def run(
    folder: Path, source: str, *, time_limit_s: float = 20.0, memory_bytes: int = 2 * 10**9
) -> Iterator[GraderProcess]:
    path = folder / "grader.py"
    path.write_text(source)
    with GraderProcess(
        read_grader(path), time_limit_s=time_limit_s, memory_bytes=memory_bytes
    ) as process:
        yield process


def test_answers_are_graded_with_their_rows(tmp_path: Path) -> None:
    source = """\
def grade(sample, item):
    print("noise\\n" * 3)
    if "output_json" in sample and isinstance(sample["output_json"], dict):
        return sample["output_json"]["a"]
    return sample["output_text"] == item["answer"]
"""
    with run(tmp_path, source) as process:
        scores = [process.grade(text, {"answer": "é"}).score for text in ("é", "x", '{"a": 0.5}')]
        printed = process.printed

    assert scores == [1.0, 0.0, 0.5]
    assert printed.startswith("noise")


@pytest.mark.parametrize(
    ("body", "problem", "message"),
    [
        ("raise ValueError('no')", "exception", "ValueError: no"),
        ("import sys; sys.exit(3)", "exception", "SystemExit: 3"),
        ("return item['none']", "exception", "KeyError: 'none'"),
        ("return grade(sample, item)", "exception", "RecursionError"),
        ("return None", "not_a_number", "None"),
        ("return '1'", "not_a_number", "type str"),
        ("return float('nan')", "nan", "nan"),
        ("return 1e308 * 10", "nan", "inf"),
        ("import os; os._exit(7)", "crashed", "exit code 7"),
        ("import os; os.abort()", "crashed", "SIGABRT"),
        ("return bytearray(10**10)[0]", "exception", "MemoryError"),
    ],
)
def test_a_problem_is_named_and_the_next_answer_is_graded(
    tmp_path: Path, body: str, problem: str, message: str
) -> None:
    source = f"def grade(sample, item):\n    if sample['output_text'] == 'good':\n        return 1\n    {body}\n"
    with run(tmp_path, source) as process:
        bad, good = process.grade("bad", {"answer": 1}), process.grade("good", {})

    assert (bad.score, bad.problem, good.score) == (None, problem, 1.0)
    assert message in bad.message
    assert bad.line == (4 if problem == "exception" else None)


def test_an_answer_without_a_score_in_time_ends_the_process_and_its_children(
    tmp_path: Path,
) -> None:
    source = """\
import subprocess
def grade(sample, item):
    if sample["output_text"] == "good":
        return 1
    child = subprocess.Popen(["sleep", "600"])
    open(item["file"], "w").write(str(child.pid))
    child.wait()
"""
    file = tmp_path / "pid"
    with run(tmp_path, source, time_limit_s=0.7) as process:
        slow = process.grade("slow", {"file": str(file)})
        good = process.grade("good", {})

    assert (slow.problem, good.score) == ("timeout", 1.0)
    status = Path(f"/proc/{file.read_text()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("\nimport none_such\n", "ModuleNotFoundError: No module named 'none_such' (line 2)"),
        ("import sibling\n", "No module named 'sibling' (line 1)"),
        ("\nreturn 1\n", "SyntaxError: 'return' outside function (line 2)"),
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (line 3)"),
    ],
)
def test_a_file_that_fails_when_loaded_has_its_line(
    tmp_path: Path, source: str, problem: str
) -> None:
    (tmp_path / "sibling.py").touch()
    source += "def grade(sample, item):\n    return 1\n"
    with (
        run(tmp_path, source) as process,
        pytest.raises(FtwizardError, match="could not be loaded") as failure,
    ):
        process.grade("a", {})

    assert problem in failure.value.message
    assert failure.value.hint


def test_the_grader_sees_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    source = "import os\ndef grade(sample, item):\n    return 'OPENAI_API_KEY' in os.environ\n"
    with run(tmp_path, source) as process:
        assert process.grade("a", {}).score == 0.0
    assert os.environ["OPENAI_API_KEY"]


def test_what_it_writes_to_the_output_is_no_score(tmp_path: Path) -> None:
    source = (
        "import os\nos.write(1, b'{\"score\": 9}\\n')\ndef grade(sample, item):\n    return 1\n"
    )
    with run(tmp_path, source) as process:
        assert process.grade("a", {}).score == 1.0
