"""Items with the answers of a base and a tuned model, for tests of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftwizard.evaluate.failures.inputs import FailureInputs
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.runs.evaluation import ItemAnswer, ItemScore


class AnswerSheet:
    """Collects items with both models' answers."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.base: dict[str, ItemAnswer] = {}
        self.tuned: dict[str, ItemAnswer] = {}

    def add(
        self,
        name: str,
        prompt: str,
        base: str,
        tuned: str,
        *,
        expected: str = "",
        scorer: ScorerName = "normalized",
        scores: tuple[float, float] | None = None,
        losses: tuple[float, float] | None = None,
        category: str = "",
    ) -> None:
        """Add an item; ``scores`` and ``losses`` are those of base and tuned model."""
        identifier = f"{name}-{len(self.items)}"
        messages = [{"role": "user", "content": prompt}]
        wanted = [expected] if expected else []
        self.items.append(
            Item(id=identifier, set=name, messages=messages, scorer=scorer, expected=wanted,
                 category=category, line=len(self.items) + 1)
        )  # fmt: skip
        for index, (answers, text) in enumerate(((self.base, base), (self.tuned, tuned))):
            value = None if scores is None else scores[index]
            score = None
            if value is not None:
                score = ItemScore(value=value, passed=bool(value) if value in (0, 1) else None)
            loss = None if losses is None else losses[index]
            answers[identifier] = ItemAnswer(item=identifier, text=text, score=score, loss=loss)

    def inputs(self, **more: Any) -> FailureInputs:
        """Return what the failures are judged by."""
        return FailureInputs(items=self.items, base=self.base, tuned=self.tuned, **more)


def make_outcomes(
    both: int, fixed: int, broken: int, neither: int = 0
) -> Sequence[tuple[float, float]]:
    """Return scores of base and tuned model: items right for both, one, the other, or neither."""
    return (
        [(1.0, 1.0)] * both + [(0.0, 1.0)] * fixed + [(1.0, 0.0)] * broken + [(0.0, 0.0)] * neither
    )
