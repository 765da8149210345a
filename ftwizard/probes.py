"""What a probe measured, remembered by what it depends on; nothing heavy is imported."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ftwizard import models, samples, settings
from ftwizard.errors import FtwizardError
from ftwizard.figure import Figure
from ftwizard.jobs.folder import write_json
from ftwizard.models import Source
from ftwizard.outcome import Expected
from ftwizard.plan import Plan

UNMEASURED = ("epochs", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm",
              "evaluation_steps", "save_steps", "patience", "alpha", "seed")  # fmt: skip
"""Settings of the recipe that change neither the memory nor the time of a step."""
SPREAD = 1.15
"""Low and high of a time are at least this far from the middle: a few steps, not hours of them."""
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of a probe measured: bytes, seconds and tokens, padding included unless
    said otherwise."""

    device: str
    """What it ran on, in words."""
    device_memory: int
    """All memory of the GPU, or of the machine."""
    precision: str
    memory_source: str
    memory_before: int
    """Before the model was loaded: libraries and rows; 0 on a GPU."""
    memory_loaded: int
    """Once the model was loaded, peak."""
    memory_training: int
    """Peak of the steps at the longest rows."""
    memory_evaluation: int | None
    """Peak of the evaluation step; None without validation rows."""
    memory_allocated: int | None
    """Peak of the tensors alone, on a GPU."""
    memory_on_device: int | None
    """What the driver counted as used at the end, other programs included; on a GPU."""
    longest: int
    """Tokens of the longest sequence."""
    steps: int
    """Optimizer steps that were timed at the longest rows."""
    step_s: float
    """Of one optimizer step at the longest rows, all its forward passes."""
    tokens_per_s: float
    """At the longest rows."""
    useful_tokens_per_s: float
    """At rows as they come, padding not counted."""
    rates: list[float]
    """Tokens per second of each timed step at rows as they come."""
    evaluation_s: float | None
    """Of one evaluation step at the longest validation rows."""
    evaluation_tokens_per_s: float | None
    epoch_tokens: int
    validation_tokens: int


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A probe as it is shown and remembered."""

    batch_size: int
    """What fits: the plan's, or less."""
    gradient_accumulation: int
    halved: int
    """How often the batch was made smaller until it fitted."""
    memory: Figure
    memory_parts: dict[str, Figure]
    tokens_per_s: Figure
    useful_tokens_per_s: Figure
    step_s: Figure
    evaluation_s: Figure | None
    seconds: Figure
    """Of the whole training with this batch, by these measurements."""
    device: str
    device_memory: Figure
    predicted: Expected
    """What the estimates said of it."""
    measured: Measured
    fingerprint: str = ""
    """Of the model that was measured."""
    findings: list[str] = []
    """What there was to say meanwhile."""


def of(measured: Measured, fits: Plan, halved: int, evaluations: int, predicted: Expected) -> Probe:
    """Return what was measured as figures; ``fits`` is the plan with the batch that fits."""
    said, date = f"measured on {measured.device}", today()

    def figure(value: float, unit: str, what: str) -> Figure:
        return Figure(value=value, unit=unit, source=f"{said}: {what}", as_of=date)

    parts = {
        "before": figure(measured.memory_before, "bytes", "libraries and rows, before the model"),
        "loaded": figure(
            measured.memory_loaded,
            "bytes",
            "once the model was loaded"
            if measured.memory_on_device is not None
            else "once the model was loaded; its weights come in when they are first used",
        ),
        "training": figure(measured.memory_training, "bytes", "in steps at the longest rows"),
    }
    if measured.memory_evaluation is not None:
        parts["evaluation"] = figure(measured.memory_evaluation, "bytes", "in an evaluation step")
    peak = max(part.value for part in parts.values())
    if measured.memory_allocated is not None:
        parts["tensors"] = figure(
            measured.memory_allocated, "bytes", "tensors alone (torch.cuda.max_memory_allocated)"
        )
    if measured.memory_on_device is not None:
        what = "used on the GPU by its driver's count (NVML), other programs included"
        parts["on_device"] = figure(measured.memory_on_device, "bytes", what)
    evaluation = measured.evaluation_s
    return Probe(
        batch_size=fits.recipe.batch_size,
        gradient_accumulation=fits.recipe.gradient_accumulation,
        halved=halved,
        memory=figure(peak, "bytes", measured.memory_source),
        memory_parts=parts,
        tokens_per_s=figure(
            measured.tokens_per_s, "tokens/s", "at the longest rows, padding included"
        ),
        useful_tokens_per_s=figure(
            measured.useful_tokens_per_s, "tokens/s", "at rows as they come, padding not counted"
        ),
        step_s=figure(measured.step_s, "s", "an optimizer step at the longest rows"),
        evaluation_s=None
        if evaluation is None
        else figure(evaluation, "s", "an evaluation step at the longest validation rows"),
        seconds=training_time(measured, fits.recipe.epochs, evaluations),
        device=measured.device,
        device_memory=figure(measured.device_memory, "bytes", "all memory of it"),
        predicted=predicted,
        measured=measured,
    )


def training_time(measured: Measured, epochs: float, evaluations: int) -> Figure:
    """Return the seconds that a training takes at the measured speed, ``evaluations`` included.

    Loading, saving, merging and comparing come on top.
    """
    tokens, looks = measured.epoch_tokens * epochs, 0.0
    if measured.evaluation_tokens_per_s:
        looks = evaluations * measured.validation_tokens / measured.evaluation_tokens_per_s
    rates = measured.rates or [measured.tokens_per_s]
    middle = sum(rates) / len(rates)
    fast, slow = max(*rates, middle * SPREAD), min(*rates, middle / SPREAD)
    return Figure(
        value=tokens / middle + looks,
        low=tokens / fast + looks / SPREAD,
        high=tokens / slow + looks * SPREAD,
        unit="s",
        source="at the speed that a probe measured on this machine; loading, saving, merging and "
        "comparing come on top",
        as_of=today(),
    )


def today() -> str:
    """Return the date, as figures have it."""
    return time.strftime("%Y-%m-%d")


def remembered(plan: Plan, source: Source | None = None) -> Probe | None:
    """Return what a probe of this plan measured here earlier; None where that is not known.

    It counts for the same rows, settings that memory and time go by, machine and libraries. With
    ``source`` the model must be the very same; without, a folder is looked at, a name is trusted.
    Files are read to compare them, once as long as they do not change.
    """
    try:
        next((settings.cache() / "probes").iterdir())  # no row is read where nothing was measured
        found = msgspec.json.decode(_file(plan).read_bytes(), type=Probe)
        if source is None and models.is_folder(plan.model.name):
            source = models.locate(plan.model.name)
    except (OSError, ValueError, FtwizardError, RecursionError, StopIteration):
        return None
    return found if source is None or source.fingerprint == found.fingerprint else None


def remember(plan: Plan, probe: Probe) -> None:
    """Keep what was measured, for the plan as it is and with the batch that fits; a cache that
    cannot be written to is no error."""
    smaller = with_batch(plan, probe.batch_size, probe.gradient_accumulation)
    fits = msgspec.structs.replace(probe, halved=0)
    with contextlib.suppress(OSError, FtwizardError):
        for one, kept in ((plan, probe), (smaller, fits)):
            path = _file(one)
            settings.private_folder(path.parent)
            write_json(path, kept)


def with_batch(plan: Plan, batch_size: int, accumulation: int) -> Plan:
    """Return the plan with another batch."""
    recipe = msgspec.structs.replace(
        plan.recipe, batch_size=batch_size, gradient_accumulation=accumulation
    )
    return msgspec.structs.replace(plan, recipe=recipe)


def _file(plan: Plan) -> Path:
    key = hashlib.sha256(msgspec.json.encode([_parts(plan), _machine(), _versions()]))
    return settings.cache() / "probes" / f"{key.hexdigest()[:24]}.json"


def _parts(plan: Plan) -> Any:
    """Return what of the plan a measurement depends on; files by their content."""
    recipe = msgspec.to_builtins(plan.recipe)
    data = msgspec.to_builtins(plan.data)
    data["files"] = {
        part: name and _content(Path(name))
        for part, name in msgspec.to_builtins(plan.data.files).items()
    }
    if plan.data.mix.share:
        data["mix"]["rows"] = _content(samples.rows_file(plan.data.mix.rows))
    return {
        "data": data,
        "shares": [plan.validation_share, plan.test_share],
        "skips": "skip-bad-rows" in plan.allow,
        "model": [plan.model.name, plan.model.revision],
        "recipe": {name: value for name, value in recipe.items() if name not in UNMEASURED},
        "gpu": plan.where.gpu,
    }


def _content(path: Path) -> str:
    status = path.stat()
    return _hashed(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _hashed(path: str, size: int, changed: int) -> str:
    """Return a hash of a file; ``size`` and ``changed`` are how a changed one is told."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _machine() -> list[Any]:
    """Name the hardware, by what the kernel and the NVIDIA driver have in ``/proc``."""
    processors = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line for line in processors.splitlines() if line.startswith("model name")), "")
    gpus = []
    with contextlib.suppress(OSError):
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            gpus += [line for line in file.read_text().splitlines() if line.startswith("Model:")]
    return [
        model,
        len(os.sched_getaffinity(0)),
        psutil.virtual_memory().total,
        gpus,
        os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
    ]


def _versions() -> list[str | None]:
    found: list[str | None] = []
    for name in LIBRARIES:
        try:
            found.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            found.append(None)
    return found
