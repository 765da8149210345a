"""The finding that answers of a run's pairs are told apart by their length alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.train.dataset import _report_lengths
from ftwizard.train.encoder import EncodedRow


class Events:
    """Keeps the findings that are written."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []

    def write_finding(self, code: str, message: str, severity: str, **fields: Any) -> None:
        self.findings.append({"code": code, "message": message, "severity": severity, **fields})


def encode(answer: int, line: int = 1, prompt: int = 9) -> EncodedRow:
    return EncodedRow(
        line=line, input_ids=[7] * (prompt + answer), labels=[IGNORE_INDEX] * prompt + [7] * answer
    )


def report(lengths: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the findings on pairs whose prompts differ far more in length than their answers."""
    rows = []
    for line, (chosen, rejected) in enumerate(lengths, 1):
        prompt = 5 + 31 * (line % 7)
        other = encode(rejected, line, prompt)
        row = encode(chosen, line, prompt)
        rows.append(
            EncodedRow(line=line, input_ids=row.input_ids, labels=row.labels, rejected=other)
        )
    events = Events()
    worker: Any = SimpleNamespace(events=events)
    _report_lengths(worker, rows)
    return events.findings


def test_pairs_told_apart_by_length_are_reported_with_the_interval() -> None:
    (finding,) = report([(30, 20)] * 90 + [(20, 30)] * 10)
    assert finding["code"] == "pairs_by_length" and finding["severity"] == "warning"
    assert "Length alone tells 90% of 100 pairs apart (83–94%; by chance 50%)" in finding["message"]
    evidence = finding["evidence"]
    assert evidence["low"] < evidence["accuracy"] == 0.9 < evidence["high"]
    assert "not the longer one" in finding["action"]
    (finding,) = report([(20, 30)] * 100)
    assert "the shorter answer is the chosen one" in finding["message"]


def test_usual_pairs_and_other_rows_are_not_reported() -> None:
    assert report([(30, 20)] * 60 + [(20, 30)] * 40) == []
    assert report([(30, 20)] * 19) == []
    worker: Any = SimpleNamespace(events=Events())
    _report_lengths(worker, [encode(20)] * 100)
    assert worker.events.findings == []
