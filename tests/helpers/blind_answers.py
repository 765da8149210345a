"""Items and answers of both models, as an evaluation leaves them in its folder."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ftwizard.evaluate.items import Item
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.evaluation import ItemAnswer


def write_answers(
    folder: JobFolder, tuned: Sequence[str], base: str = "base {n}", set_name: str = "target"
) -> None:
    """Write items and answers of both models."""
    folder.evaluations.mkdir(parents=True, exist_ok=True)
    items = [
        Item(
            id=f"{set_name}-{n}",
            set=set_name,
            messages=[{"role": "user", "content": f"question {n}"}],
            scorer="chrf",
        )
        for n in range(len(tuned))
    ]
    answers = {"base": [base.format(n=n) for n in range(len(tuned))], "tuned": tuned}
    write_lines(folder, "items", items)
    for arm, texts in answers.items():
        pairs = zip(items, texts, strict=True)
        write_lines(folder, arm, [ItemAnswer(item=item.id, text=text) for item, text in pairs])


def write_lines(folder: JobFolder, name: str, values: Sequence[msgspec.Struct]) -> None:
    data = b"".join(msgspec.json.encode(value) + b"\n" for value in values)
    (folder.evaluations / f"{name}.jsonl").write_bytes(data)
