"""Cache of probe measurements, keyed by everything they depend on. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ftwizard import locations
from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.estimate.parallelism import Mode
from ftwizard.jobs.folder import write_json
from ftwizard.models import hub
from ftwizard.models.hub import ModelSource
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure, today
from ftwizard.runs.prediction import RunFigures

UNRELATED_SETTINGS = ("epochs", "max_steps", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm",
              "evaluation_steps", "save_steps", "patience", "alpha", "seed")  # fmt: skip
"""Recipe settings that affect neither the memory nor the time of a step."""
SPREAD = 1.15
"""Minimum ratio between the bounds of a time and its middle, because only a few steps are timed."""
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "flash-attn", "kernels")


class ProbeMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """Raw measurements of a probe: bytes, seconds and tokens, padding included unless noted."""

    device: str
    """Description of the device."""
    device_memory: int
    """Total memory of the GPU, or of the machine."""
    precision: str
    memory_source: str
    memory_before: int
    """Before the model was loaded: libraries and rows; 0 on a GPU."""
    memory_loaded: int
    """Peak after loading the model."""
    memory_training: int
    """Peak of training steps on the longest rows."""
    memory_evaluation: int | None
    """Peak of the evaluation step; None without validation rows."""
    memory_allocated: int | None
    """Peak of the tensors alone; GPU only."""
    memory_on_device: int | None
    """Memory in use at the end according to the driver, including other programs; GPU only."""
    longest: int
    """Tokens of the longest sequence."""
    steps: int
    """Timed optimizer steps on the longest rows."""
    step_s: float
    """Of one optimizer step on the longest rows, with all its forward passes."""
    tokens_per_s: float
    """On the longest rows."""
    useful_tokens_per_s: float
    """On typical rows, without padding."""
    rates: list[float]
    """Tokens per second of each timed step on typical rows."""
    evaluation_s: float | None
    """Of one evaluation step on the longest validation rows."""
    evaluation_tokens_per_s: float | None
    epoch_tokens: int
    validation_tokens: int
    processes: int = 1
    """Processes that were measured together, those of one node. Memory is that of the one that needs
    most, speed that of all."""
    mode: Mode | None = None
    """How they share the model; None for one."""


class CachedProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a probe as shown and cached."""

    batch_size: int
    """The batch size that fits: the plan's, or less."""
    gradient_accumulation: int
    halved: int
    """How often the batch was reduced until it fit."""
    memory: Figure
    memory_parts: dict[str, Figure]
    tokens_per_s: Figure
    useful_tokens_per_s: Figure
    step_s: Figure
    evaluation_s: Figure | None
    seconds: Figure
    """Of the whole training with this batch."""
    device: str
    device_memory: Figure
    predicted: RunFigures
    """The estimates before the probe."""
    measured: ProbeMeasurements
    fingerprint: str = ""
    """Of the measured model."""
    findings: list[str] = []
    """Messages of the probe."""


class ProbeReport(CachedProbe, frozen=True, kw_only=True):
    """The document of a probe."""

    written: str | None
    """The new plan with the batch size that fits; None if none was asked for."""


def from_measurements(
    measured: ProbeMeasurements, fits: Plan, halved: int, evaluations: int, predicted: RunFigures,
    epochs: float | None = None,
) -> CachedProbe:  # fmt: skip
    """Convert measurements to figures; ``fits`` is the plan with the batch that fits.

    ``epochs``: trained, None: those of the recipe.
    """
    together = f" with {measured.processes} processes" if measured.processes > 1 else ""
    prefix, date = f"measured on {measured.device}{together}", today()

    def figure(value: float, unit: str, description: str) -> Figure:
        return Figure(
            value=value, unit=unit, source=f"{prefix}: {description}", short_source=description,
            as_of=date,
        )  # fmt: skip

    loaded = "after loading the model"
    if measured.memory_on_device is None:
        loaded += "; its weights are read on first use"
    parts = {
        "before": figure(measured.memory_before, "bytes", "libraries and rows, before the model"),
        "loaded": figure(measured.memory_loaded, "bytes", loaded),
        "training": figure(measured.memory_training, "bytes", "training on the longest rows"),
    }
    if measured.memory_evaluation is not None:
        parts["evaluation"] = figure(measured.memory_evaluation, "bytes", "during evaluation")
    peak = max(part.value for part in parts.values())
    if measured.memory_allocated is not None:
        parts["tensors"] = figure(
            measured.memory_allocated, "bytes", "tensors alone (torch.cuda.max_memory_allocated)"
        )
    if measured.memory_on_device is not None:
        description = "in use according to the driver (NVML), including other programs"
        parts["on_device"] = figure(measured.memory_on_device, "bytes", description)
    evaluation = measured.evaluation_s
    return CachedProbe(
        batch_size=fits.recipe.batch_size,
        gradient_accumulation=fits.recipe.gradient_accumulation,
        halved=halved,
        memory=figure(peak, "bytes", measured.memory_source),
        memory_parts=parts,
        tokens_per_s=figure(
            measured.tokens_per_s, "tokens/s", "on the longest rows, padding included"
        ),
        useful_tokens_per_s=figure(
            measured.useful_tokens_per_s, "tokens/s", "on typical rows, without padding"
        ),
        step_s=figure(measured.step_s, "s", "one optimizer step on the longest rows"),
        evaluation_s=None
        if evaluation is None
        else figure(evaluation, "s", "one evaluation step on the longest validation rows"),
        seconds=training_time(
            measured, fits.recipe.epochs if epochs is None else epochs, evaluations
        ),
        device=measured.device,
        device_memory=figure(measured.device_memory, "bytes", "its total memory"),
        predicted=predicted,
        measured=measured,
    )


def training_time(measured: ProbeMeasurements, epochs: float, evaluations: int) -> Figure:
    """Return the seconds of training at the measured speed, including ``evaluations``.

    Loading, saving, merging and comparing are extra.
    """
    tokens, looks = measured.epoch_tokens * epochs, 0.0
    if measured.evaluation_tokens_per_s:
        looks = evaluations * measured.validation_tokens / measured.evaluation_tokens_per_s
    rates = measured.rates or [measured.tokens_per_s]
    middle = sum(rates) / len(rates)
    fast, slow = max(*rates, middle * SPREAD), min(*rates, middle / SPREAD)
    together = f" with {measured.processes} processes" if measured.processes > 1 else ""
    short = f"speed measured by a probe on this machine{together}"
    return Figure(
        value=tokens / middle + looks,
        low=tokens / fast + looks / SPREAD,
        high=tokens / slow + looks * SPREAD,
        unit="s",
        source=f"{short}; loading, saving, merging and comparing are extra",
        short_source=short,
        as_of=today(),
    )


def read_cached_probe(plan: Plan, source: ModelSource | None = None) -> CachedProbe | None:
    """Return the cached probe of this plan on this machine; None if there is none.

    It must match in rows, relevant settings, machine and libraries. A probe on all rows also counts
    for a plan with ``data.max_rows``: its steps used rows at least as long. One of a single process
    counts for a plan with several that were not measured together. With ``source`` the model must
    be identical; without it, a folder is fingerprinted and a Hub id is trusted. Files are hashed
    once while they do not change.
    """
    try:
        # Hashes no files if nothing is cached.
        next((locations.cache_folder() / "probes").iterdir())
        probe = _read(plan)
        if source is None and hub.is_folder(plan.model.name):
            source = hub.locate(plan.model.name)
    except (OSError, ValueError, FtwizardError, RecursionError, StopIteration):
        return None
    return probe if source is None or source.fingerprint == probe.fingerprint else None


def _read(plan: Plan) -> CachedProbe:
    data = msgspec.structs.replace(plan.data, max_rows=None)
    whole = msgspec.structs.replace(plan, data=data)
    for processes in dict.fromkeys((count_processes(plan), 1)):
        for variant in (plan, whole):
            with contextlib.suppress(FileNotFoundError):
                return msgspec.json.decode(_file(variant, processes).read_bytes(), type=CachedProbe)
    raise FileNotFoundError


def cache_probe(plan: Plan, probe: CachedProbe) -> None:
    """Cache a probe for the plan as it is and with the batch that fits.

    An unwritable cache is ignored.
    """
    smaller = with_batch(plan, probe.batch_size, probe.gradient_accumulation)
    fits = msgspec.structs.replace(probe, halved=0)
    with contextlib.suppress(OSError, FtwizardError):
        for variant, entry in ((plan, probe), (smaller, fits)):
            path = _file(variant, probe.measured.processes)
            locations.create_private_folder(path.parent)
            write_json(path, entry)


def with_batch(plan: Plan, batch_size: int, accumulation: int) -> Plan:
    """Return the plan with another batch size and accumulation."""
    recipe = msgspec.structs.replace(
        plan.recipe, batch_size=batch_size, gradient_accumulation=accumulation
    )
    return msgspec.structs.replace(plan, recipe=recipe)


def count_processes(plan: Plan) -> int:
    """Return how many processes a probe of the plan measures together: all that train on one machine."""
    return plan.where.processes


def shows_memory(probe: CachedProbe, plan: Plan) -> bool:
    """Return whether each process of the plan needs the memory that the probe measured.

    With DDP, each holds the whole model, however many nodes there are. With FSDP, each holds a larger
    part on one node than on several.
    """
    measured = probe.measured
    return measured.processes == plan.ranks or (measured.processes > 1 and measured.mode == "ddp")


def _file(plan: Plan, processes: int) -> Path:
    versions = [installed_version(name) for name in LIBRARIES]
    parts = [_plan_key(plan), _machine_key(plan), versions]
    if processes > 1:
        parts.append([processes, plan.where.parallel])
    key = hashlib.sha256(msgspec.json.encode(parts))
    return locations.cache_folder() / "probes" / f"{key.hexdigest()[:24]}.json"


def _plan_key(plan: Plan) -> Any:
    """Return the parts of the plan that a measurement depends on; files by content."""
    recipe = msgspec.to_builtins(plan.recipe)
    data = msgspec.to_builtins(plan.data)
    data["files"] = {
        part: name and _hash_content(Path(name))
        for part, name in msgspec.to_builtins(plan.data.files).items()
    }
    for part in ("validation", "test"):  # a run writes its defaults out: see `shares`
        del data["split"][part]
    if plan.data.mix.share:
        data["mix"]["rows"] = _hash_content(bundled_samples.resolve_rows(plan.data.mix.rows))
    return {
        "data": data,
        "shares": [plan.validation_share, plan.test_share],
        "skips": "skip-bad-rows" in plan.allow,
        "model": [plan.model.name, plan.model.revision],
        "recipe": {name: value for name, value in recipe.items() if name not in UNRELATED_SETTINGS},
        "gpu": plan.where.gpu,
    }


def _machine_key(plan: Plan) -> list[Any]:
    """Return what tells the machine of a plan apart from others. Of a node of Slurm, it is what the
    job asks for, so that a probe in an allocation counts on the login node too."""
    slurm = plan.slurm
    if plan.where.scheduler != "slurm":
        return _machine()
    asked = (slurm.partition, slurm.gpu_type, slurm.constraint, slurm.gpus > 0, slurm.cpus)
    return ["slurm", *asked]


def _hash_content(path: Path) -> str:
    status = path.stat()
    return _hash_file(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _hash_file(path: str, size: int, changed: int) -> str:
    """Hash a file; ``size`` and ``changed`` invalidate the cache if it changes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _machine() -> list[Any]:
    """Identify the hardware from ``/proc``."""
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


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
