"""Runs held against each other: settings that differ, scores, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ftwizard import run_records, run_search, runs
from ftwizard.errors import FtwizardError
from ftwizard.figure import Figure
from ftwizard.jobs.events import number
from ftwizard.jobs.folder import JobFolder
from ftwizard.run_records import RunRecord
from ftwizard.runs import Progress
from ftwizard.text import dollars, duration, visible

MOST = 8
"""Runs that can be told apart side by side."""
NO_SETTINGS = frozenset(("provider_reason", "allow", "report_to"))
"""What the plan says that changes nothing of the training."""
SPLIT = tuple(f"data.split.{name}" for name in ("validation", "test", "group_by", "seed"))


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run; None where unknown."""

    best_eval_loss: float | None = None
    """The lowest validation loss, in nats a token, of the step ``best_step``."""
    best_step: int | None = None
    eval_loss: float | None = None
    """The last validation loss."""
    loss: float | None = None
    """The last training loss."""
    steps: int | None = None
    tokens: int | None = None
    """Trained on so far, padding not counted."""
    seconds: float | None = None
    """Of the training."""
    tokens_per_s: float | None = None
    cost: float | None = None
    """US dollars."""
    test_loss: float | None = None
    """Of the tuned model on the test set."""
    test_exact: float | None = None
    """Share of the test set answered exactly as expected."""
    test_json_valid: float | None = None


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs."""

    label: str
    """``A``, ``B``, … in the order in which they were named."""
    record: RunRecord
    settings: dict[str, Any]
    """Of its plan, by whole names; empty where that cannot be read."""
    hashes: dict[str, str]
    """What it was made from, as in ``job.json``."""
    scores: Scores

    @property
    def id(self) -> str:
        return self.record.id


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    sides: list[Side]
    settings: dict[str, list[Any]]
    """What differs: a value a run, in their order, None where it has none."""
    comparable: dict[str, bool | None]
    """``validation_loss``, ``training_loss``, ``test``: whether those say which run is better;
    None where that cannot be told."""
    why: list[str]
    """Why not, a sentence each."""


def label(place: int) -> str:
    """Return the letter of a run by its place, from 0: ``A``."""
    return chr(ord("A") + place)


def find(names: Sequence[str]) -> list[JobFolder]:
    """Return the folders of at least two runs, each once.

    Raises FtwizardError for a run that there is not, fewer than two, or more than can be told apart.
    """
    folders = list({one.path: one for one in map(runs.find, names)}.values())
    if len(folders) < 2:
        raise FtwizardError("One run alone cannot be compared.", "Name two runs or more.", 2)
    if len(folders) > MOST:
        raise FtwizardError(
            f"{len(folders)} runs are more than can be told apart.", f"Name {MOST} at most.", 2
        )
    return folders


def side(
    folder: JobFolder,
    place: int,
    progress: Progress | None = None,
    settings: dict[str, Any] | None = None,
) -> Side:
    """Look at one run; ``place`` counts from 0. ``progress`` where its events have been read,
    ``settings`` where its plan has."""
    progress = progress or runs.progress(folder)
    record = run_records.record(folder, progress)
    try:
        hashes = folder.read_job().hashes
    except (OSError, FtwizardError):
        hashes = {}
    return Side(
        label=label(place),
        record=record,
        settings=run_search.settings_of(folder) if settings is None else settings,
        hashes=hashes,
        scores=_scores(record, progress, runs.result(folder)),
    )


def compare(sides: list[Side]) -> Comparison:
    """Hold runs against each other."""
    same_validation = _all(sides, _same_validation)
    same_test = _all(sides, _same_test)
    same_model = _all(sides, lambda a, b: _same(a, b, "model") and _same(a, b, "template", True))
    same_length = _all(sides, lambda a, b: _setting(a, b, "recipe.max_length"))
    same_train = _all(sides, lambda a, b: _same(a, b, "train"))
    tokens = _both(same_model, same_length)
    return Comparison(
        sides=sides,
        settings=differing([one.settings for one in sides]),
        comparable={
            "validation_loss": _both(same_validation, tokens),
            "training_loss": _both(same_train, tokens),
            "test": same_test,
        },
        why=[*_why(sides, same_validation, same_model, same_length), *_unread(sides)],
    )


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all, in the order of the plan.

    A run without any (its plan cannot be read) takes no part.
    """
    known = [one for one in settings if one]
    names = dict.fromkeys(name for one in known for name in one)
    return {
        name: [one.get(name) for one in settings]
        for name in names
        if name not in NO_SETTINGS and any(one.get(name) != known[0].get(name) for one in known)
    }


def best(found: Comparison, score: str) -> set[int]:
    """Return the places of the lowest losses, where they can be compared at all."""
    kinds = {
        "best_eval_loss": "validation_loss", "eval_loss": "validation_loss", "loss": "training_loss",
        "test_loss": "",
    }  # fmt: skip
    if score not in kinds or not found.comparable.get(kinds[score]):
        return set()
    values = [getattr(one.scores, score) for one in found.sides]
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(set(known)) == 1:
        return set()
    return {place for place, value in enumerate(values) if value == min(known)}


def score_rows(found: Comparison) -> list[tuple[str, list[str]]]:
    """Return the scores as text: a name and a cell a run; what no run has is left out.

    ``✓`` marks the lowest loss, where the runs can be compared.
    """
    rows: list[tuple[str, list[str]]] = []
    for score, name, in_words in _ROWS:
        values = [getattr(one.scores, score) for one in found.sides]
        if all(value is None for value in values):
            continue
        marked = best(found, score)
        cells = ["–" if value is None else in_words(value) for value in values]
        if score == "best_eval_loss":
            steps = [one.scores.best_step for one in found.sides]
            cells = [
                f"{cell} at {step}" if step is not None else cell
                for cell, step in zip(cells, steps, strict=True)
            ]
        rows.append((name, [f"✓ {c}" if i in marked else c for i, c in enumerate(cells)]))
    return rows


def setting_rows(found: Comparison) -> list[tuple[str, list[str]]]:
    """Return the settings that differ as text: a name and a cell a run."""
    return [(name, [_said(one) for one in values]) for name, values in found.settings.items()]


def document(found: Comparison) -> dict[str, Any]:
    """Return a comparison for JSON."""
    ids = [one.id for one in found.sides]
    return {
        "runs": [
            {
                "id": one.id,
                "state": one.record.state,
                "end_reason": one.record.end_reason,
                **msgspec.to_builtins(one.scores),
            }
            for one in found.sides
        ],
        "settings": {
            name: dict(zip(ids, values, strict=True)) for name, values in found.settings.items()
        },
        "comparable": found.comparable,
        "why": found.why,
    }


def _loss(value: float) -> str:
    return f"{value:.4g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _share(value: float) -> str:
    return f"{value:.0%}".replace("%", " %")


_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("best_eval_loss", "best validation loss", _loss),
    ("eval_loss", "last validation loss", _loss),
    ("loss", "last training loss", _loss),
    ("test_loss", "test loss", _loss),
    ("test_exact", "test, exact match", _share),
    ("test_json_valid", "test, valid JSON", _share),
    ("steps", "steps", _count),
    ("tokens", "tokens", _count),
    ("seconds", "training", duration),
    ("tokens_per_s", "tokens/s", _count),
    ("cost", "cost", dollars),
)


def _scores(record: RunRecord, progress: Progress, result: dict[str, Any]) -> Scores:
    actual = record.actual
    tokens = progress.metrics.get("tokens")
    times = list(progress.times.points(0, float("inf")))
    seconds = times[-1][1] - times[0][1] if len(times) > 1 and progress.attempt <= 1 else None
    tuned = result.get("compare")
    tuned = tuned.get("tuned") if isinstance(tuned, dict) else None
    tuned = tuned if isinstance(tuned, dict) else {}
    known = tokens.last if tokens is not None else None
    return Scores(
        best_eval_loss=record.best_eval_loss,
        best_step=record.best_step,
        eval_loss=record.eval_loss,
        loss=record.loss,
        steps=record.step,
        tokens=None if known is None else int(known),
        seconds=_value(actual.seconds if actual else None, seconds),
        tokens_per_s=_value(actual.tokens_per_s if actual else None, record.tokens_per_s),
        cost=_value(actual.cost if actual else None, None),
        test_loss=number(tuned.get("loss")),
        test_exact=number(tuned.get("exact")),
        test_json_valid=number(tuned.get("json_valid")),
    )


def _value(figure: Figure | None, other: float | None) -> float | None:
    return other if figure is None else figure.value


def _same(a: Side, b: Side, part: str, missing: bool | None = None) -> bool | None:
    """Say whether both were made from the same; ``missing`` where neither has such a part."""
    one, other = a.hashes.get(part), b.hashes.get(part)
    if one is None and other is None:
        return missing
    if one is None or other is None:
        return None
    return one == other


def _setting(a: Side, b: Side, name: str) -> bool | None:
    if not a.settings or not b.settings:
        return None
    return bool(a.settings.get(name) == b.settings.get(name))


def _same_validation(a: Side, b: Side) -> bool | None:
    return _same_part(a, b, "validation")


def _same_test(a: Side, b: Side) -> bool | None:
    return _same_part(a, b, "test")


def _same_part(a: Side, b: Side, part: str) -> bool | None:
    """Say whether a part has the same rows: the same file, or the same draw from the same file."""
    if part in a.hashes or part in b.hashes:
        return a.hashes.get(part) == b.hashes.get(part)
    if (train := _same(a, b, "train")) is not True:
        return train
    if _same(a, b, "split"):
        return True
    # The hash is of the other parts too, such as the rows mixed in: then the settings tell.
    files = "test" if part == "validation" else "validation"
    if (files in a.hashes) != (files in b.hashes):
        return None
    settings = [_setting(a, b, name) for name in SPLIT]
    return False if False in settings else None if None in settings else True


def _all(
    sides: Sequence[Side], same: Callable[[Side, Side], bool | None]
) -> bool | None:  # fmt: skip
    """Say whether all are the same as the first: False where one is not, None where one may be."""
    found = [same(sides[0], one) for one in sides[1:]]
    return False if False in found else None if None in found else True


def _both(one: bool | None, other: bool | None) -> bool | None:
    return False if False in (one, other) else None if None in (one, other) else True


def _why(
    sides: Sequence[Side], validation: bool | None, model: bool | None, length: bool | None
) -> list[str]:
    said = []
    if model is False:
        models = [f"{one.label} {_said(one.settings.get('model.name'))}" for one in sides]
        said.append(
            f"Different models or templates ({', '.join(models)}): a loss is for a token of each "
            "model's own tokenizer, so losses do not say which is better."
        )
    elif model is None:
        said.append("Whether the models are the same was not recorded.")
    if validation is False:
        said.append("Different validation rows: their validation losses cannot be compared.")
    elif validation is None:
        said.append("Whether they validate on the same rows was not recorded.")
    if length is False:
        lengths = [_said(one.settings.get("recipe.max_length")) for one in sides]
        said.append(
            f"Rows are cut at different lengths (recipe.max_length {', '.join(lengths)}): where a "
            "row is longer than the least of these, losses are not of the same tokens."
        )
    return said


def _unread(sides: Sequence[Side]) -> list[str]:
    names = [visible(one.id) for one in sides if not one.settings]
    return [
        f"The plan of {', '.join(names)} cannot be read: its settings are not compared."
    ] * bool(names)


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return visible(", ".join(map(str, value)), 200) or "none"
    return visible(str(value), 200)
