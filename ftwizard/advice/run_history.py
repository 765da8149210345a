"""Earlier runs on the same data: how their validation loss ended, and their learning rate."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from ftwizard.advice.recipe_advice import EarlierRate, advise_learning_rate
from ftwizard.data.io.inspect import inspect
from ftwizard.data.io.source import DataSource
from ftwizard.errors import FtwizardError
from ftwizard.estimate.duration import RunSpeed
from ftwizard.jobs.events import read_tail
from ftwizard.jobs.folder import JobFolder, JobRecord
from ftwizard.jobs.status import observe
from ftwizard.models import model_config
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs import store
from ftwizard.runs.progress import Progress
from ftwizard.runs.summary import read_progress

MAX_RUNS = 200
"""Number of newest runs to inspect."""
MIN_FALL_RATIO = 0.01
"""Relative fall over the last two evaluations, below which a validation loss has flattened."""


HashGetter = Callable[[], str | None]
"""Returns the hash of a training file, None if it cannot be read."""


class EarlierLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The last validation losses of an earlier run on the same data."""

    run: str
    epochs: float
    """Epochs trained."""
    first: float
    """Validation loss two evaluations before the last."""
    last: float
    falling: bool
    """Whether it was still falling, neither flat nor rising."""

    @property
    def summary(self) -> str:
        """Describe it in a sentence."""
        trend = "was still falling at the end" if self.falling else "had flattened or risen"
        return (
            f"On the same data, the validation loss of run {self.run} {trend} "
            f"({self.first:.3f} → {self.last:.3f} over its last evaluations)."
        )


def hash_rows(rows: str) -> str | None:
    """Return the hash of a data file as runs record it; None if it cannot be read."""
    try:
        container = inspect(Path(rows))
        with DataSource(Path(rows), container.identity) as source:
            return source.sha256()
    except (FtwizardError, OSError, ValueError):
        return None


def find_earlier_loss(chosen: Plan, hashed: HashGetter | None = None) -> EarlierLoss | None:
    """Return how the validation loss ended in the longest earlier run on the data of ``chosen``.

    Runs of the same model take precedence. ``hashed`` returns the hash of the training file, if the
    caller has it. None without an ended run of at least three evaluations.
    """
    endings = [
        (plan.model.name == chosen.model.name, last_losses.epochs, last_losses)
        for folder, plan in _find_same_data(chosen, hashed)
        if (last_losses := _read_ending(folder)) is not None
    ]
    return max(endings, key=lambda last_losses: last_losses[:2])[2] if endings else None


def find_earlier_rate(chosen: Plan, hashed: HashGetter | None = None) -> EarlierRate | None:
    """Return the learning rate of ``chosen`` if the newest such run on the same data used it with
    another model.

    None without such a run, and if the learning rate is the usual one.
    """
    recipe = chosen.recipe
    size = model_config.count_parameters(chosen.model.name)
    if recipe.learning_rate in (
        None,
        advise_learning_rate(recipe.method, size, recipe.objective).value,
    ):
        return None
    for _, plan in _find_same_data(chosen, hashed):
        same = plan.recipe.learning_rate == recipe.learning_rate
        same = same and plan.recipe.objective == recipe.objective
        if same and plan.recipe.method == recipe.method and plan.model.name != chosen.model.name:
            earlier = model_config.count_parameters(plan.model.name)
            return EarlierRate(rate=recipe.learning_rate or 0.0, parameters=earlier)
    return None


def _find_same_data(chosen: Plan, hashed: HashGetter | None) -> Iterator[tuple[JobFolder, Plan]]:
    """Yield the runs with the same training file, newest first."""
    own_hash = None
    for folder, record, plan in _read_runs(MAX_RUNS):
        trained_on = record.hashes.get("train")
        if trained_on is None:
            continue
        # Hashing a large file takes seconds, so it waits until there is a run to compare with.
        own_hash = own_hash or (hashed() if hashed else hash_rows(chosen.data.files.train))
        if own_hash is None:
            return
        if trained_on == own_hash and plan.data.columns == chosen.data.columns:
            yield folder, plan


def _read_runs(max_runs: int) -> Iterator[tuple[JobFolder, JobRecord, Plan]]:
    """Yield the newest trainings that can be read."""
    for folder in islice(reversed(store.list_runs()), max_runs):
        try:
            record, plan = folder.read_job(), plan_file.read_run(folder)
        except (OSError, ValueError, FtwizardError):
            continue
        if record.kind == "train":
            yield folder, record, plan


def _read_ending(folder: JobFolder) -> EarlierLoss | None:
    """Return how the validation loss of a run ended; None while it runs or with too few points."""
    try:
        if observe(folder).state != "ended":
            return None
        so_far = read_progress(folder)
    except (OSError, ValueError, FtwizardError):
        return None
    curve = so_far.evaluations
    losses = [curve[index][1] for index in range(len(curve))]
    return summarize_losses(folder.id, so_far.epoch or 0.0, losses)


def summarize_losses(run: str, epochs: float, losses: list[float]) -> EarlierLoss | None:
    """Return how validation losses, oldest first, ended; None for fewer than three or with NaN."""
    if len(losses) < 3 or not all(map(math.isfinite, losses)):
        return None
    first, middle, last = losses[-3:]
    falling = (
        last < middle < first
        and last <= min(losses)
        and first - last >= MIN_FALL_RATIO * abs(first)
    )
    return EarlierLoss(run=run, epochs=epochs, first=first, last=last, falling=falling)


# Speeds of earlier runs of a model on this machine.

MAX_SPEEDS = 5
MAX_RUNS_FOR_SPEED = 50
"""Number of newest runs to inspect."""
TAIL_BYTES = 1 << 17
"""Bytes read from the end of a run's events: more than its last ``RATE_WINDOW`` steps, over which
its speed is measured."""


def find_speeds(chosen: Plan, *, but: str = "") -> list[RunSpeed]:
    """Return the speeds of the newest runs of the same model, method and objective, except run ``but``."""
    speeds = (
        _read_speed(folder, plan)
        for folder, _, plan in _read_runs(MAX_RUNS_FOR_SPEED)
        if folder.id != but
        and not plan.is_hosted
        and plan.model.name == chosen.model.name
        and plan.recipe.method == chosen.recipe.method
        and plan.recipe.objective == chosen.recipe.objective
        and _describe_machine(plan) == _describe_machine(chosen)
    )
    return list(islice(filter(None, speeds), MAX_SPEEDS))


def _describe_machine(plan: Plan) -> tuple[object, ...]:
    """Return what tells the machine of a run apart from others, as far as its plan knows."""
    slurm = plan.slurm
    if plan.where.scheduler != "slurm":
        return ()
    return slurm.partition, slurm.gpu_type, slurm.gpus > 0, plan.nodes


def _read_speed(folder: JobFolder, plan: Plan) -> RunSpeed | None:
    """Return the speed of a run's last steps, reading only the end of its events; of several
    processes, also what came before."""
    progress = Progress()
    try:
        progress.feed(read_tail(folder.events, TAIL_BYTES))
        last_day = datetime.date.fromtimestamp(folder.events.stat().st_mtime)
        speedup = progress.ranks_speed if plan.ranks > 1 else None
        if plan.ranks > 1 and not speedup:
            speedup = read_progress(folder).ranks_speed
    except (OSError, ValueError, FtwizardError):
        return None
    rate = progress.tokens_per_s
    if not rate:
        return None
    return RunSpeed(
        run=folder.id, tokens_per_s=rate, as_of=str(last_day), processes=plan.ranks, speedup=speedup
    )
