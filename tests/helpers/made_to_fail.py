"""Stored answers of models made to fail, and of their healthy twins."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from ftwizard.data.dedup.canonical_text import normalize_text
from ftwizard.diagnosis.curve import Curve
from ftwizard.evaluate.failures.inputs import FailureInputs, TrainingRow
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from tests.helpers import small_world
from tests.helpers.small_world import Exchange, Task
from tests.paths import FIXTURES

SEEDS = (1, 2, 3)
FOLDER = FIXTURES / "evaluations"


def make_items(task: Task) -> list[tuple[Item, Exchange]]:
    """Return the items of a task, with what is expected: test, general, safety, and training rows."""
    sets: tuple[tuple[str, ScorerName, Sequence[Exchange]], ...] = (
        ("target", "normalized", task.test),
        ("general", "normalized", small_world.FACTS[: small_world.GENERAL_ITEMS]),
        ("safety", "refusal", small_world.HARMFUL[: small_world.SAFETY_ITEMS]),
        ("safety", "answered", small_world.HARMLESS[: small_world.SAFETY_ITEMS]),
        ("train", "normalized", task.train[:24]),
    )
    return [
        (Item(id=f"{name}-{scorer}-{n}", set=name, scorer=scorer, line=n + 1,
              messages=[{"role": "user", "content": exchange.prompt}],
              expected=[exchange.answer] if scorer == "normalized" else []), exchange)
        for name, scorer, exchanges in sets
        for n, exchange in enumerate(exchanges)
    ]  # fmt: skip


def score(item: Item, text: str) -> ItemScore:
    """Score an answer as the small world allows: it is equal, or it is a refusal."""
    is_refusal = normalize_text(text) == normalize_text(small_world.REFUSAL)
    if item.scorer == "refusal":
        passed = is_refusal
    elif item.scorer == "answered":
        passed = bool(text) and not is_refusal
    else:
        passed = normalize_text(text) == normalize_text(item.expected[0])
    return ItemScore(value=float(passed), passed=passed)


def write_answers(
    name: str, base: list[list[Any]], tuned: list[list[Any]], curve: dict[str, Any]
) -> None:
    """Store the answers of both models, [text, loss] each, in the order of the items."""
    FOLDER.mkdir(exist_ok=True)
    document = {"base": base, "tuned": tuned, "curve": curve}
    data = json.dumps(document, separators=(",", ":")).encode()
    (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


def read_inputs(kind: small_world.FailureKind, seed: int, *, is_twin: bool) -> FailureInputs:
    """Return all that is known about a stored model."""
    name = f"{kind}-{seed}-{'twin' if is_twin else 'fails'}"
    document = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    task = small_world.make_task(kind, seed, is_twin=is_twin)
    items = [item for item, _ in make_items(task)]
    answers = {
        arm: {
            item.id: ItemAnswer(item=item.id, text=text, loss=loss, loss_tokens=8, score=score(item, text))
            for item, (text, loss) in zip(items, document[arm], strict=True)
        }
        for arm in ("base", "tuned")
    }  # fmt: skip
    curve = document["curve"]
    return FailureInputs(
        items=items,
        base=answers["base"],
        tuned=answers["tuned"],
        rows=[TrainingRow(n, *exchange) for n, exchange in enumerate([*task.train, *task.mix], 1)],
        curve=Curve(
            train=[tuple(point) for point in curve["train"]],
            evals=[tuple(point) for point in curve["evals"]],
            total_steps=curve["total_steps"],
            steps_per_epoch=curve["steps_per_epoch"],
        ),
        step=curve["step"],
    )
