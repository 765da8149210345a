"""Checks of a plan's Slurm settings, whose values become lines of a batch script."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.plan.schema import Plan, Slurm
from ftwizard.strict_yaml import SettingsError

MAX_STOP_BEFORE_S = 65_535
"""Most that Slurm takes for the time of a signal."""
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.,:@+-]*")
_NAME_HINT = "Write its name as Slurm lists it: letters, digits, dots, dashes and underscores."
_PATTERNS: dict[str, tuple[re.Pattern[str], str]] = {
    "partition": (_NAME, _NAME_HINT),
    "account": (_NAME, _NAME_HINT),
    "qos": (_NAME, _NAME_HINT),
    "gpu_type": (re.compile(r"[A-Za-z0-9_.-]+"), _NAME_HINT),
    "time": (
        re.compile(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}"),
        "Write it as Slurm does: 90 (minutes), 12:00:00, or 1-00:00:00.",
    ),
    "memory": (re.compile(r"\d+[KMGT]?"), "Write it as Slurm does: 64G."),
    "constraint": (
        re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.&|*,:()\[\]-]*"),
        "Write it as Slurm does: a100, or a100|h100.",
    ),
}
_MINIMUMS = {"nodes": 1, "gpus": 0, "cpus": 1, "stop_before_s": 1}


def find_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield each problem of the Slurm settings."""
    settings, is_used = plan.slurm, plan.where.scheduler == "slurm"
    if is_used and plan.is_hosted:
        yield SettingsError(
            f"is slurm, but provider is {plan.provider}.",
            "Remove it, or set provider to local.",
            setting="where.scheduler",
        )
    if not is_used and settings != Slurm():
        yield SettingsError(
            "slurm is set, but where.scheduler is not slurm.",
            "Set where.scheduler to slurm, or remove slurm.",
        )
    if is_used and plan.where.gpu is not None:
        yield SettingsError(
            "is set, but Slurm chooses the GPU of its job.",
            "Remove it. How many GPUs: slurm.gpus.",
            setting="where.gpu",
        )
    for name, (pattern, hint) in _PATTERNS.items():
        value = getattr(settings, name)
        if value is not None and not (pattern.fullmatch(str(value)) and str(value).isascii()):
            yield SettingsError("is not a value of Slurm's.", hint, setting=f"slurm.{name}")
    for name, minimum in _MINIMUMS.items():
        value = getattr(settings, name)
        if value is not None and value < minimum:
            yield SettingsError(
                f"is {value}.", f"It must be at least {minimum}.", setting=f"slurm.{name}"
            )
    if settings.stop_before_s > MAX_STOP_BEFORE_S:
        hint = f"It must be at most {MAX_STOP_BEFORE_S}."
        yield SettingsError(f"is {settings.stop_before_s}.", hint, setting="slurm.stop_before_s")
    if settings.gpu_type is not None and settings.gpus == 0:
        yield SettingsError(
            "is set, but slurm.gpus is 0.", "Remove one of them.", setting="slurm.gpu_type"
        )
    yield from find_prelude_problems(settings.prelude)


def find_prelude_problems(prelude: str) -> Iterator[SettingsError]:
    """Yield each problem of the shell lines that run before the training."""
    lines = prelude.splitlines()
    if any(not (char.isprintable() or char in "\n\t") for char in prelude):
        yield SettingsError("has a control character.", "Remove it.", setting="slurm.prelude")
    if any(line.lstrip().startswith("#SBATCH") for line in lines):
        yield SettingsError(
            "has a line #SBATCH, which Slurm would not read there.",
            "Use the settings of slurm instead: partition, account, time and others.",
            setting="slurm.prelude",
        )
