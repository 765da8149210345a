"""Preference rows for tests: tickets whose rejected answers are chatty, and not JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.paths import TICKETS


def read_pairs(count: int) -> list[dict[str, Any]]:
    """Return pairs of a routed ticket and an answer in prose."""
    rows = []
    for line in (TICKETS / "train.jsonl").read_text().splitlines()[:count]:
        *prompt, answer = json.loads(line)["messages"]
        team = json.loads(answer["content"])["team"]
        prose = f"Sure! I would be happy to help. This is probably one for {team}."
        rows.append(
            {"prompt": prompt, "chosen": [answer],
             "rejected": [{"role": "assistant", "content": prose}]}
        )  # fmt: skip
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines; return the file."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def write_pairs(path: Path, count: int = 40) -> Path:
    """Write pairs to a file."""
    return write_rows(path, read_pairs(count))


def write_labeled(path: Path, count: int = 40) -> Path:
    """Write labeled answers to a file: the chosen ones of every other pair, the rejected of the rest."""
    rows = [
        {"prompt": pair["prompt"], "completion": pair["rejected" if number % 2 else "chosen"],
         "label": number % 2 == 0}
        for number, pair in enumerate(read_pairs(count))
    ]  # fmt: skip
    return write_rows(path, rows)
