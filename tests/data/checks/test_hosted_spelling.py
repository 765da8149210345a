"""Chat rows that are readable but that a hosted provider rejects without conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.data.checks import run
from ftwizard.data.checks.run import CheckOptions

TURNS = [{"role": "user", "content": "Which one?"}, {"role": "assistant", "content": "This one."}]
TOOL = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": {}}}


def find_errors(row: Any, target: Any, path: Path) -> list[tuple[str, list[int]]]:
    plain = [
        {"messages": [{"role": "user", "content": f"Number {n}?"}, TURNS[1]]} for n in range(11)
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in [*plain[:4], row, *plain[4:]]))
    report = run.check_files(path, CheckOptions(target=target, near=False, count="no"))
    return [
        (finding.code, finding.lines) for finding in report.findings if finding.severity == "error"
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": TURNS},
        {"system": "Be kind.", "messages": TURNS},
        {"messages": TURNS, "tools": json.dumps([TOOL])},
    ],
)
def test_openai_needs_conversion_for_rows_that_trl_accepts(row: Any, tmp_path: Path) -> None:
    assert find_errors(row, "openai-sft", tmp_path / "a.jsonl") == [("needs_conversion", [5])]
    assert find_errors(row, "trl-sft", tmp_path / "b.jsonl") == []


@pytest.mark.parametrize("more", [{}, {"tools": [TOOL]}, {"system": None}])
def test_rows_in_openai_format_need_no_conversion(more: dict[str, Any], tmp_path: Path) -> None:
    assert find_errors({"messages": TURNS, **more}, "openai-sft", tmp_path / "a.jsonl") == []
