"""Comparison of runs: settings that differ, scores, and which of them are comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, JobRecord
from ftwizard.runs import base_weights, objective_figures, search, store, verdict
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.progress import Progress
from ftwizard.runs.store import RunRecord
from ftwizard.runs.summary import read_progress
from ftwizard.runs.verdict import Verdict
from ftwizard.text import format_dollars, format_duration, make_visible

MAX_RUNS = 8
"""Runs that fit side by side."""
_IGNORED_SETTINGS = frozenset(("provider_reason", "allow", "report_to"))
"""Settings without effect on the training."""
_SPLIT_SETTINGS = tuple(f"data.split.{name}" for name in ("validation", "test", "group_by", "seed"))


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run and its scores in the document of ``ftwizard compare --json``; None means unknown."""

    best_eval_loss: float | None = None
    """The lowest validation loss, in nats per token, at ``best_step``."""
    best_step: int | None = None
    eval_loss: float | None = None
    """The last validation loss."""
    loss: float | None = None
    """The last training loss."""
    pair_accuracy: float | None = None
    """Share of validation pairs that are told apart; without validation, of the newest training
    pairs."""
    margin: float | None = None
    """Mean margin of the same pairs, in nats of reward."""
    reward: float | None = None
    """Mean reward of the newest evaluation; without one, of the newest training steps."""
    steps: int | None = None
    tokens: int | None = None
    """Trained on so far, without padding."""
    seconds: float | None = None
    """Duration of the training."""
    tokens_per_s: float | None = None
    cost: float | None = None
    """US dollars."""
    test_loss: float | None = None
    """Loss of the tuned model on the test set."""
    test_match: float | None = None
    """Share of right answers on the test set."""
    test_fields: float | None = None
    """Mean share of right JSON fields on the test set."""
    test_chrf: float | None = None
    """Mean chrF of free-text answers on the test set, 0–100."""
    verdict: Verdict | None = None
    """Whether the tuned model is better than its base on the test set; None if not compared."""
    id: str
    objective: str = "sft"
    """``sft``, ``dpo``, ``kto`` or ``grpo``: losses of different ones mean different things."""
    state: str
    end_reason: str | None


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True, rename={"reasons": "why"}):
    """The document of ``ftwizard compare --json``."""

    runs: list[ComparedRun]
    settings: dict[str, dict[str, Any]]
    """Settings that differ: a value for each run by its id."""
    comparable: dict[str, bool | None]
    reasons: list[str]
    """Why scores are not comparable, a sentence each."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    """``A``, ``B``, … in the order given."""
    record: RunRecord
    settings: dict[str, Any]
    """Settings of its plan by full name; empty if unreadable."""
    hashes: dict[str, str]
    """Hashes of its inputs, as in ``job.json``."""
    scores: ComparedRun

    @property
    def id(self) -> str:
        return self.record.id


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    sides: list[Side]
    settings: dict[str, list[Any]]
    """Settings that differ: a value for each run in order; None if it has none."""
    comparable: dict[str, bool | None]
    """``validation_loss``, ``training_loss``, ``test`` (scores other than the loss), ``test_loss``:
    whether these show which run is better; None if unknown."""
    reasons: list[str]
    """Reasons why not, a sentence each."""


def get_label(index: int) -> str:
    """Return the letter of a run by its index: ``A`` for 0."""
    return chr(ord("A") + index)


def find_runs(names: Sequence[str]) -> list[JobFolder]:
    """Find the folders of at least two runs, each once.

    Raises FtwizardError for an unknown run, fewer than two, or more than ``MAX_RUNS``.
    """
    folders = list({folder.path: folder for folder in map(store.find, names)}.values())
    if len(folders) < 2:
        raise FtwizardError("One run alone cannot be compared.", "Name at least two runs.", 2)
    if len(folders) > MAX_RUNS:
        raise FtwizardError(
            f"{len(folders)} runs are too many to compare.", f"Name at most {MAX_RUNS}.", 2
        )
    return folders


def read_side(
    folder: JobFolder,
    index: int,
    progress: Progress | None = None,
    settings: dict[str, Any] | None = None,
) -> Side:
    """Read one run of a comparison.

    ``index`` counts from 0. ``progress`` and ``settings``: its events and its plan, if already read.
    """
    progress = progress or read_progress(folder)
    record = store.read_record(folder, progress)
    job = store.read_job(folder)
    return Side(
        label=get_label(index),
        record=record,
        settings=search.read_settings(folder) if settings is None else settings,
        hashes=_read_hashes(folder, job),
        scores=_collect_scores(folder, record, progress),
    )


def _read_hashes(folder: JobFolder, job: JobRecord | None) -> dict[str, str]:
    weights = base_weights.identify(folder)
    return {**(job.hashes if job else {}), **({"weights": weights} if weights else {})}


def compare(sides: list[Side]) -> Comparison:

    def are_same(test: Callable[[Side, Side], bool | None]) -> bool | None:
        return _all(test(sides[0], side) for side in sides[1:])

    validation = are_same(lambda a, b: _has_same_rows(a, b, "validation"))
    test = are_same(lambda a, b: _has_same_rows(a, b, "test"))
    model = are_same(_has_same_model)
    length = are_same(lambda a, b: _has_same_setting(a, b, "recipe.max_length"))
    train = are_same(lambda a, b: _has_same_hash(a, b, "train"))
    objective = len({run.scores.objective for run in sides}) == 1 and _ranks_by_loss(sides[0])
    return Comparison(
        sides=sides,
        settings=find_differences([run.settings for run in sides]),
        comparable={
            "validation_loss": _all((validation, model, length, objective)),
            "training_loss": _all((train, model, length, objective)),
            "test": test,
            "test_loss": _all((test, model, length)),
        },
        reasons=[
            *_explain_objectives(sides),
            *_explain(sides, validation, model, length),
        ],
    )


def _ranks_by_loss(side: Side) -> bool:
    return side.scores.objective != "grpo"


def _explain_objectives(sides: list[Side]) -> Iterator[str]:
    names = [side.scores.objective for side in sides]
    if len(set(names)) > 1:
        listed = [f"{side.label} {name.upper()}" for side, name in zip(sides, names, strict=True)]
        yield f"Different objectives ({', '.join(listed)}): their losses cannot be compared."
    elif not _ranks_by_loss(sides[0]):
        yield "The loss of GRPO ranks nothing. Compare rewards, on the same prompts."


def find_differences(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, in the order of the plan.

    Runs without settings (unreadable plan) are ignored.
    """
    readable = [values for values in settings if values]
    names = dict.fromkeys(name for values in readable for name in values)
    return {
        name: [values.get(name) for values in settings]
        for name in names
        if name not in _IGNORED_SETTINGS
        and any(values.get(name) != readable[0].get(name) for values in readable)
    }


def find_best(comparison: Comparison, score: str) -> set[int]:
    """Return the indices of the runs with the lowest loss; empty if not comparable."""
    kinds = {
        "best_eval_loss": "validation_loss", "eval_loss": "validation_loss", "loss": "training_loss",
        "test_loss": "test_loss",
    }  # fmt: skip
    if score not in kinds or not comparison.comparable.get(kinds[score]):
        return set()
    values = [getattr(run.scores, score) for run in comparison.sides]
    present = [value for value in values if value is not None]
    if len(present) < 2 or len(set(present)) == 1:
        return set()
    return {index for index, value in enumerate(values) if value == min(present)}


def format_scores(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Format the scores: a name, and a cell for each run. Scores that no run has are omitted.

    ``✓`` marks the lowest loss if the runs are comparable.
    """
    rows: list[tuple[str, list[str]]] = []
    for score, name, write in _ROWS:
        values = [getattr(run.scores, score) for run in comparison.sides]
        if all(value is None for value in values):
            continue
        marked = find_best(comparison, score)
        cells = []
        for index, (run, value) in enumerate(zip(comparison.sides, values, strict=True)):
            cell = "–" if value is None else write(value)
            if score == "best_eval_loss" and run.scores.best_step is not None:
                cell += f" at {run.scores.best_step}"
            cells.append(f"✓ {cell}" if index in marked else cell)
        rows.append((name, cells))
    return rows


def format_verdicts(comparison: Comparison) -> list[str]:
    """Describe for each compared run whether it is better than its base: ``A helped: …``."""
    return [
        f"{side.label}  {verdict.MARKS[judged.outcome]} {verdict.describe(judged)}"
        for side in comparison.sides
        if (judged := side.scores.verdict)
    ]


def format_settings(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Format the settings that differ: a name, and a cell for each run."""
    return [
        (name, [_format_setting(value) for value in values])
        for name, values in comparison.settings.items()
    ]


def to_report(comparison: Comparison) -> ComparisonReport:
    ids = [run.id for run in comparison.sides]
    return ComparisonReport(
        runs=[run.scores for run in comparison.sides],
        settings={
            name: dict(zip(ids, values, strict=True))
            for name, values in comparison.settings.items()
        },
        comparable=comparison.comparable,
        reasons=comparison.reasons,
    )


_format_loss, _format_count, _format_percent = "{:.4g}".format, "{:,.0f}".format, "{:.0%}".format
_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("best_eval_loss", "best validation loss", _format_loss),
    ("eval_loss", "last validation loss", _format_loss),
    ("loss", "last training loss", _format_loss),
    ("pair_accuracy", "pair accuracy", _format_percent),
    ("margin", "margin", "{:.3g}".format),
    ("reward", "reward", "{:.3f}".format),
    ("test_loss", "test loss", _format_loss),
    ("test_match", "test, right answers", _format_percent),
    ("test_fields", "test, right JSON fields", _format_percent),
    ("test_chrf", "test, chrF", "{:.1f}".format),
    ("steps", "steps", _format_count),
    ("tokens", "tokens", _format_count),
    ("seconds", "training", format_duration),
    ("tokens_per_s", "tokens/s", _format_count),
    ("cost", "cost", format_dollars),
)


_OBJECTIVE_SCORES = {
    "pair_accuracy": "rewards_accuracies", "margin": "rewards_margins", "reward": "reward",
}  # fmt: skip
"""Scores of preference tuning and reinforcement, and their metrics."""


_RECORDED = ("id", "state", "end_reason", "best_eval_loss", "best_step", "eval_loss", "loss")


def _collect_scores(folder: JobFolder, record: RunRecord, progress: Progress) -> ComparedRun:
    from ftwizard.runs.evaluation_files import read_helped  # loads the plan

    judged = read_helped(folder)
    actual = record.actual or RunFigures()
    tokens = progress.metrics.get("tokens")
    times = progress.times
    seconds = times[-1][1] - times[0][1] if len(times) > 1 and progress.attempt <= 1 else None
    tested = {change.measure: change.tuned for change in judged.evidence} if judged else {}
    trained = tokens.last if tokens is not None else None
    objective = objective_figures.get_objective(progress)
    figures: dict[str, Any] = {
        name: objective_figures.read_evaluated(progress, metric)
        for name, metric in _OBJECTIVE_SCORES.items()
        if objective != "sft"
    }
    figures |= {f"test_{name}": tested.get(name) for name in ("loss", "match", "fields", "chrf")}
    return ComparedRun(
        **{name: getattr(record, name) for name in _RECORDED},
        objective=objective,
        **figures,
        steps=record.step,
        tokens=None if trained is None else int(trained),
        seconds=actual.seconds.value if actual.seconds else seconds,
        tokens_per_s=actual.tokens_per_s.value if actual.tokens_per_s else record.tokens_per_s,
        cost=actual.cost.value if actual.cost else None,
        verdict=judged,
    )


def _has_same_hash(a: Side, b: Side, part: str, missing: bool | None = None) -> bool | None:
    """Return whether a hash is the same in both; ``missing`` if neither has it, None if unknown."""
    first, second = a.hashes.get(part), b.hashes.get(part)
    if first is None and second is None:
        return missing
    if first is None or second is None:
        return None
    return first == second


def _has_same_model(a: Side, b: Side) -> bool | None:
    if _has_same_hash(a, b, "weights") is False:
        return False
    return _has_same_hash(a, b, "model") and _has_same_hash(a, b, "template", True)


def _has_same_setting(a: Side, b: Side, name: str) -> bool | None:
    if not a.settings or not b.settings:
        return None
    return bool(a.settings.get(name) == b.settings.get(name))


def _has_same_rows(a: Side, b: Side, part: str) -> bool | None:
    """Return whether a part has the same rows: the same file, or the same split of one file."""
    if part in a.hashes or part in b.hashes:
        return a.hashes.get(part) == b.hashes.get(part)
    if (train := _has_same_hash(a, b, "train")) is not True:
        return train
    if _has_same_hash(a, b, "split"):
        return True
    # The hash covers the other parts too, such as rows mixed in: then compare the settings.
    files = "test" if part == "validation" else "validation"
    if (files in a.hashes) != (files in b.hashes):
        return None
    return _all(_has_same_setting(a, b, name) for name in _SPLIT_SETTINGS)


def _all(answers: Iterable[bool | None]) -> bool | None:
    """Return False if one is False, else None if one is unknown."""
    answers = set(answers)
    return False if False in answers else None if None in answers else True


def _explain(
    sides: Sequence[Side], validation: bool | None, model: bool | None, length: bool | None
) -> list[str]:
    reasons = []
    parts = {(run.hashes.get("model"), run.hashes.get("template")) for run in sides}
    if model is False and len(parts) == 1:
        reasons.append(
            "The base weights differ, under one name: losses show their difference, too, so they "
            "cannot be compared."
        )
    elif model is False:
        models = [f"{run.label} {_format_setting(run.settings.get('model.name'))}" for run in sides]
        reasons.append(
            f"Different models or templates ({', '.join(models)}): losses are per token of each "
            "model's tokenizer, so they cannot be compared."
        )
    elif model is None:
        reasons.append("Not recorded whether the models are the same.")
    if validation is False:
        reasons.append("Different validation rows: validation losses cannot be compared.")
    elif validation is None:
        reasons.append("Not recorded whether the validation rows are the same.")
    if length is False:
        lengths = [_format_setting(run.settings.get("recipe.max_length")) for run in sides]
        reasons.append(
            f"Different max lengths (recipe.max_length {', '.join(lengths)}): losses of longer rows "
            "do not cover the same tokens."
        )
    if names := [make_visible(run.id) for run in sides if not run.settings]:
        reasons.append(f"Could not read the plan of {', '.join(names)}: settings are not compared.")
    return reasons


def _format_setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return make_visible(", ".join(map(str, value)), 200) or "none"
    return make_visible(str(value), 200)
