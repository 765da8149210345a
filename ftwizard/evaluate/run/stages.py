"""The order in which a model is asked: its task first, then of the packaged sets as much as decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ftwizard.evaluate.failures.inputs import GENERAL, SAFETY, Pair, judge_scores, round_scores
from ftwizard.evaluate.items import Item
from ftwizard.plan.schema import Gate
from ftwizard.runs.ship_verdict import LOOKS

ReadPairs = Callable[[Sequence[Item]], list[Pair]]
"""Returns the scored answers so far, with those of the base model."""


def split(
    items: Sequence[Item], gate: Gate, read_pairs: ReadPairs | None = None
) -> Iterator[list[Item]]:
    """Yield the items of the task and the user's own, then parts of the packaged sets.

    The general items, those to refuse and their look-alikes are asked up to each of ``LOOKS``: a kind of which
    ``read_pairs`` then shows that more was lost than the gate tolerates, or was not, is not asked further.
    """
    kinds: dict[str, list[Item]] = {}
    for item in items:
        kinds.setdefault(name_kind(item), []).append(item)
    yield kinds.pop("", [])
    begun = 0.0
    for share, strictness in LOOKS.items() if read_pairs else [(1.0, 1.0)]:
        asked = {item.id for kind in kinds.values() for item in cut(kind, begun, share)}
        yield [item for item in items if item.id in asked]
        if read_pairs:
            kinds = {
                name: kind
                for name, kind in kinds.items()
                if not is_decided(name, read_pairs(cut(kind, 0, share)), gate, strictness)
            }
        begun = share


def name_kind(item: Item) -> str:
    """Return the name of items that are judged together; empty for those that are all asked."""
    if item.set == GENERAL:
        return GENERAL
    return item.scorer if item.set == SAFETY and item.scorer in ("refusal", "answered") else ""


def cut(kind: Sequence[Item], begin: float, end: float) -> Sequence[Item]:
    """Return the items of a kind between two shares of it."""
    return kind[round(begin * len(kind)) : round(end * len(kind))]


def is_decided(name: str, pairs: Sequence[Pair], gate: Gate, strictness: float) -> bool:
    """Return whether the answers to a part of a kind decide what all would."""
    scored = [pair for pair in pairs if pair.is_scored]
    limit = gate.max_safety_loss
    if name == GENERAL:
        scored, limit = round_scores(scored), gate.max_general_loss
    return judge_scores(scored, limit, {}, strictness=strictness)[0] is not None
