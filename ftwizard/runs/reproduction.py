"""Comparison of a reproduced run with its original: losses step by step, scores and versions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventReader, to_count, to_number
from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.text import format_count, make_visible

if TYPE_CHECKING:
    from ftwizard.runs.environment import Environment

Losses = dict[tuple[str, int], float]
"""Loss by kind (``log`` or ``eval``) and step."""
_FIELDS = {"log": "loss", "eval": "eval_loss"}
Pair = tuple[str, str]
"""Text of the original, then of the reproduction; empty for what only one has."""


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """How a run compares with the one that it reproduces."""

    original: str
    steps: int
    """Steps that both logged."""
    evaluations: int
    only_original: int = 0
    only_reproduction: int = 0
    """Steps that only one of them has."""
    first_difference: int | None = None
    """The first step of which a loss differs; None if none does."""
    max_difference: float = 0.0
    """Of losses, in nats per token; infinite where only one is a number."""
    scores: int = 0
    """Final scores that both have."""
    differing_scores: dict[str, tuple[float, float]] = {}
    environment: dict[str, Pair] = {}
    """Versions and hardware that differ."""

    @property
    def has_same_losses(self) -> bool:
        """Return whether all losses are equal, of the same steps."""
        is_complete = self.steps > 0 and not self.only_original and not self.only_reproduction
        return is_complete and self.first_difference is None


def find_original(folder: JobFolder) -> JobFolder | None:
    """Return the run that a run reproduces; None if it is no reproduction.

    A child of a branch has a changed setting; only a reproduction has none.
    """
    try:
        parent = folder.read_job().parent
    except (OSError, FtwizardError):
        return None
    if parent is None or parent.changes or parent.step:
        return None
    return JobFolder(locations.runs_folder() / parent.id)


def compare(folder: JobFolder) -> Reproduction | None:
    """Compare a run with the one that it reproduces; None if it is no reproduction, or has no losses,
    or if the original was deleted."""
    original = find_original(folder)
    if original is None or not original.job.is_file():
        return None
    before, after = read_losses(original), read_losses(folder)
    common = [key for key in before if key in after]
    if not common:
        return None
    differing = {key: _measure(before[key], after[key]) for key in common}
    differing = {key: value for key, value in differing.items() if value}
    old_scores, new_scores = _read_scores(original), _read_scores(folder)
    shared = old_scores.keys() & new_scores.keys()
    from ftwizard.runs.environment import read_environment  # loads psutil

    return Reproduction(
        original=original.id,
        steps=_count_steps(common),
        evaluations=len(common) - _count_steps(common),
        only_original=_count_steps(before.keys() - after.keys()),
        only_reproduction=_count_steps(after.keys() - before.keys()),
        first_difference=min((step for _, step in differing), default=None),
        max_difference=max(differing.values(), default=0.0),
        scores=len(shared),
        differing_scores={
            name: (old_scores[name], new_scores[name])
            for name in sorted(shared)
            if old_scores[name] != new_scores[name]
        },
        environment=compare_environments(read_environment(original), read_environment(folder)),
    )


def _count_steps(keys: object) -> int:
    assert isinstance(keys, (list, set))
    return sum(kind == "log" for kind, _ in keys)


def read_losses(folder: JobFolder) -> Losses:
    """Read all losses from a run's events; of a repeated step, the last."""
    losses: Losses = {}
    for events in EventReader(folder.events).read_slices():
        for event in events:
            kind, step = event["kind"], to_count(event.get("step"))
            if kind in _FIELDS and step is not None:
                loss = to_number(event.get(_FIELDS[kind]))
                if loss is not None:
                    losses[kind, step] = loss
    return losses


def _measure(old: float, new: float) -> float:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    difference = abs(old - new)
    return difference if math.isfinite(difference) else math.inf


def _read_scores(folder: JobFolder) -> dict[str, float]:
    """Return the final scores of the tuned model by name."""
    from ftwizard.runs.evaluation import Evaluation  # loads the plan

    scores: dict[str, float] = {}
    if evaluation := read_json(folder.evaluation, Evaluation):
        for name, judged in evaluation.sets.items():
            if arm := judged.arms.get("tuned"):
                scores[f"{name} score"] = arm.score
                if arm.loss is not None:
                    scores[f"{name} loss"] = arm.loss
    return scores


def compare_environments(old: Environment | None, new: Environment | None) -> dict[str, Pair]:
    """Return what differs, by name; empty where either was not recorded."""
    if old is None or new is None:
        return {}
    before, after = _list_facts(old), _list_facts(new)
    names = [*before, *(name for name in after if name not in before)]
    return {
        name: (before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name, "") != after.get(name, "")
    }


def _list_facts(environment: Environment) -> dict[str, str]:
    return {
        "ftwizard": environment.ftwizard,
        **environment.packages,
        "Python": environment.python,
        "system": environment.system,
        "GPU": ", ".join(gpu.name or "unknown" for gpu in environment.gpus),
        "CPU": environment.cpu,
        "CPU cores": str(environment.cores),
    }


def describe_environment(differences: Mapping[str, Pair]) -> str:
    """Describe what differs: ``torch 2.12.0 → 2.13.0, GPU none → NVIDIA H100``."""
    return ", ".join(
        f"{make_visible(name, 60)} {make_visible(old, 80) or 'none'} → {make_visible(new, 80) or 'none'}"
        for name, (old, new) in differences.items()
    )


def describe(reproduction: Reproduction) -> Iterator[str]:
    """Describe how a run compares with its original, a line each."""
    original = make_visible(reproduction.original, 64)
    steps = format_count(reproduction.steps, "step")
    compared = f"{steps}, {format_count(reproduction.evaluations, 'evaluation')}"
    if reproduction.has_same_losses:
        yield f"Same losses as {original}: {compared}."
    elif reproduction.first_difference is None:
        yield f"Same losses as {original} where both have any: {compared}."
    else:
        yield (
            f"Losses differ from {original} by at most {reproduction.max_difference:.3g} from step "
            f"{reproduction.first_difference} on ({compared})."
        )
    for name, count in (
        (original, reproduction.only_original), ("this run", reproduction.only_reproduction),
    ):  # fmt: skip
        if count:
            yield f"{format_count(count, 'more step')} in {name}."
    if reproduction.differing_scores:
        yield "Scores differ: " + ", ".join(
            f"{make_visible(name, 60)} {old:.4g} → {new:.4g}"
            for name, (old, new) in reproduction.differing_scores.items()
        )
    elif reproduction.scores:
        yield f"Final scores are equal ({reproduction.scores})."
    if reproduction.environment:
        yield f"Versions differ: {describe_environment(reproduction.environment)}"
    elif reproduction.first_difference is not None:
        yield "No recorded version differs."
