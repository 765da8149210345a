"""Lambda function around a grader: events of both shapes, and the commands that create it."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import read_grader
from ftwizard.graders.handler import describe_function, write_handler

GRADER = """\
def grade(sample, item):
    if sample["output_text"] == "NaN":
        return float("nan")
    assert item["messages"] == [{"role": "user", "content": "?"}], item
    return sample["output_text"] == item["reference_answer"]
"""
Handler = Callable[[object, object], list[dict[str, Any]]]


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handler:
    """Return the handler, imported as Lambda does it: by name, from the folder of the archive."""
    (tmp_path / "my-grader.py").write_text(GRADER)
    source = write_handler(read_grader(tmp_path / "my-grader.py"))
    (tmp_path / "lambda_function.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lambda_function", "my-grader"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    function: Handler = importlib.import_module("lambda_function").lambda_handler
    for name in ("lambda_function", "my-grader"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return function


def make_row(answer: object, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "?"}, {"role": role, "content": answer}]
    return {"id": "r1", "messages": messages, **fields}


@pytest.mark.parametrize("role", ["assistant", "nova_assistant"])
@pytest.mark.parametrize(
    "fields", [{"metadata": {"reference_answer": "7", "k": 1}}, {"reference_answer": "7"}]
)
def test_both_roles_and_both_places_of_the_reference_are_read(
    handler: Handler, role: str, fields: dict[str, Any]
) -> None:
    rows = [make_row("7", role, **fields), make_row([{"text": "8"}], role, **fields)]

    answers = handler(rows, None)

    assert [answer["aggregate_reward_score"] for answer in answers] == [1.0, 0.0]
    assert answers[0]["id"] == "r1"
    assert answers[0]["metrics_list"] == [{"name": "score", "value": 1.0, "type": "Reward"}]


def test_an_answer_that_cannot_be_graded_scores_0_and_is_logged(
    handler: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [make_row("7"), make_row("NaN", reference_answer="7"), {"id": "r3"}]
    rows.append(make_row("7", reference_answer="7"))

    scores = [answer["aggregate_reward_score"] for answer in handler({"trajectories": rows}, None)]

    assert scores == [0.0, 0.0, 0.0, 1.0]
    assert "KeyError: 'reference_answer'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.b.py", "lambda_function.py", "ä.py", f"{'a' * 41}.py"])
def test_a_name_that_lambda_cannot_import_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GRADER)
    with pytest.raises(FtwizardError, match="cannot import the file") as failure:
        write_handler(read_grader(tmp_path / name))
    assert "Rename it" in failure.value.hint


def test_a_name_that_hides_a_module_of_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "numbers.py").write_text(GRADER)
    with pytest.raises(FtwizardError, match="it would hide") as failure:
        write_handler(read_grader(tmp_path / "numbers.py"))
    assert "numbers_grader.py" in failure.value.hint


def test_the_commands_name_both_files_and_the_timeout(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "g.py").write_text("import numpy\n" + GRADER)
    grader = read_grader(folder / "g.py")

    function = describe_function(grader, folder / "lambda_function.py", "us-west-2")

    pack, create, update, _ = map(shlex.split, function.commands)
    assert pack == [
        "zip",
        "-j",
        *(str(folder / n) for n in ("g.zip", "lambda_function.py", "g.py")),
    ]
    assert create[create.index("--timeout") + 1] == "300"
    assert create[create.index("--zip-file") + 1] == f"fileb://{folder}/g.zip"
    assert "us-west-2" in create and "us-west-2" in update
    assert "numpy" in function.cautions[0]
