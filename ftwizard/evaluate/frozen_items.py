"""Items of a run's evaluation, drawn and frozen before its first step: ``eval/items.jsonl``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.repeated_items import drop_repeats
from ftwizard.evaluate.thinking import ThinkingMode
from ftwizard.jobs.folder import JobFolder, write_json, write_whole
from ftwizard.plan.schema import Gate

_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Item)


class DrawnSet(msgspec.Struct, frozen=True, kw_only=True):
    """How many items of a set are used."""

    items: int
    available: int
    """Without those that repeat another."""
    repeated: int = 0
    """Items left out because they repeat another."""


class FrozenItems(msgspec.Struct, frozen=True, kw_only=True):
    """``eval/frozen.json``: what a run is judged by, from before its first step."""

    sha256: str
    """Of ``eval/items.jsonl``."""
    gate: Gate
    sets: dict[str, DrawnSet]
    thinking: ThinkingMode = "none"
    """Of the base model's chat template."""


def draw(items: Iterable[Item], limit: int, seed: int) -> tuple[list[Item], dict[str, DrawnSet]]:
    """Draw at most ``limit`` items of each set, in proportion to their categories; return them, and
    how many of how many by set.

    The order mixes the sets, so that a part of it is a fair sample of each. A larger draw contains a
    smaller one. Of items with the same id, and of those that repeat each other, the first counts.
    """
    sets: dict[str, list[Item]] = {}
    for item in {item.id: item for item in reversed(list(items))}.values():
        sets.setdefault(item.set, []).append(item)
    chosen, counts = list[tuple[float, Item]](), dict[str, DrawnSet]()
    for name in sorted(sets):
        ordered = drop_repeats(_mix(sets[name], random.Random(f"{seed} {name}")))
        used, repeated = ordered[:limit], len(sets[name]) - len(ordered)
        counts[name] = DrawnSet(items=len(used), available=len(ordered), repeated=repeated)
        chosen += [((rank + 0.5) / len(used), item) for rank, item in enumerate(used)]
    chosen.sort(key=lambda pair: (pair[0], pair[1].id))
    return [item for _, item in chosen], counts


def _mix(items: Sequence[Item], generator: random.Random) -> list[Item]:
    """Return a random order of which each beginning has all categories in proportion."""
    categories: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: item.id):
        categories.setdefault(item.category, []).append(item)
    ranked = list[tuple[float, float, Item]]()
    for group in categories.values():
        generator.shuffle(group)
        ranked += [
            ((rank + 0.5) / len(group), generator.random(), item) for rank, item in enumerate(group)
        ]
    return [item for *_, item in sorted(ranked, key=lambda entry: entry[:2])]


def freeze(
    folder: JobFolder,
    items: Sequence[Item],
    sets: dict[str, DrawnSet],
    gate: Gate,
    thinking: ThinkingMode = "none",
) -> FrozenItems:
    """Write the items that a run is judged by, and their hash."""
    folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    data = b"".join(_encoder.encode(item) + b"\n" for item in items)
    digest = hashlib.sha256(data).hexdigest()
    frozen = FrozenItems(sha256=digest, gate=gate, sets=sets, thinking=thinking)
    write_whole(folder.items, data)
    write_json(_record_path(folder), frozen)
    return frozen


def read(folder: JobFolder) -> tuple[list[Item], FrozenItems] | None:
    """Return the frozen items of a run; None before they are frozen.

    Raises FtwizardError if they changed since: a verdict on other items would mean nothing.
    """
    try:
        frozen = msgspec.json.decode(_record_path(folder).read_bytes(), type=FrozenItems)
        data = folder.items.read_bytes()
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise _changed(_record_path(folder)) from error
    if hashlib.sha256(data).hexdigest() != frozen.sha256:
        raise _changed(folder.items)
    return list(_decode(data)), frozen


def _decode(data: bytes) -> Iterator[Item]:
    return map(_decoder.decode, data.splitlines())


def _changed(path: Path) -> FtwizardError:
    return FtwizardError(
        f"{path} was changed since the run froze it, before its first step.",
        "Restore it, or delete the folder that it is in to evaluate on newly drawn items.",
    )


def _record_path(folder: JobFolder) -> Path:
    return folder.evaluations / "frozen.json"
