"""Files with a grader, read without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import (
    MAX_SOURCE_BYTES,
    find_reference,
    make_sample,
    read_grader,
)

GRADER = """\
import json, numpy.linalg
from urllib.request import urlopen

def grade(sample, item):
    return float(sample["output_text"] == item["answer"] or item.get("other", ""))
"""


def write(folder: Path, source: str) -> Path:
    path = folder / "grader.py"
    path.write_text(source)
    return path


def test_fields_and_modules_are_read_from_the_code(tmp_path: Path) -> None:
    grader = read_grader(write(tmp_path, "raise SystemExit\n" + GRADER))

    assert grader.fields == ("answer", "other")
    assert grader.modules == ("json", "numpy", "urllib")
    assert (grader.installed, grader.network) == (["numpy"], ["urllib"])
    assert grader.name == "grader"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def grade(sample, item)\n    return 1\n", "not valid Python: expected ':' (line 1)"),
        ("x = 1\n", "has no function grade"),
        ("grade = lambda sample, item: 1\n", "has no function grade"),
        ("\ndef grade(sample):\n    return 1\n", "grade of .* (line 2) does not take sample"),
        ("def grade(sample, item, other):\n    return 1\n", "does not take sample and item"),
        ("def grade(sample, item, *, how):\n    return 1\n", "does not take sample and item"),
        (
            "async def grade(sample, item):\n    return 1\n",
            "(line 1) is async, and graders are not",
        ),
        ("x = '\0'\n", "not valid Python"),
        ("#" * MAX_SOURCE_BYTES + GRADER, "OpenAI takes 256 kB"),
    ],
)
def test_a_file_that_cannot_grade_is_refused(tmp_path: Path, source: str, problem: str) -> None:
    pattern = problem.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(FtwizardError, match=pattern) as failure:
        read_grader(write(tmp_path, source))
    assert failure.value.hint


@pytest.mark.parametrize("arguments", ["sample, item, more=1", "*both", "sample, /, item"])
def test_a_function_that_can_be_called_with_two_values_is_accepted(
    tmp_path: Path, arguments: str
) -> None:
    assert read_grader(write(tmp_path, f"def grade({arguments}):\n    return 1\n")).source


def test_a_missing_file_names_the_command_for_the_template(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="does not exist") as failure:
        read_grader(tmp_path / "none.py")
    assert "ftwizard grader new" in failure.value.hint


def test_the_reference_is_what_the_grader_reads() -> None:
    row = {"messages": [{}], "id": 7, "reference_answer": "b", "answer": {"a": 1}}

    assert find_reference(row, ["answer"]) == '{"a": 1}'
    assert find_reference(row, ["none"]) == "b"
    assert find_reference({"messages": [{}], "id": 7}, []) == "7"
    assert find_reference({"messages": [{}]}, ["messages"]) == ""


def test_an_answer_in_json_is_parsed() -> None:
    assert make_sample('{"a": [1]}')["output_json"] == {"a": [1]}
    assert make_sample("a")["output_json"] is None
