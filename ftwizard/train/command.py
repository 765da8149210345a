"""Command and environment of a training process on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ftwizard import credentials
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.hardware import machine
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs import launch
from ftwizard.plan import machine_checks
from ftwizard.plan.schema import Plan
from ftwizard.text import format_count

REQUIRED = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "jsonschema",
    "sacrebleu",
)  # fmt: skip


def check_installed(plan: Plan) -> None:
    """Raise MissingExtra for the first package that the plan needs and that is not installed."""
    quantization = ("bitsandbytes",) if plan.recipe.method == "qlora" else ()
    for package in (*REQUIRED, *quantization):
        if not is_installed(package):
            raise MissingExtra("local", package)
    for reporter in plan.report_to:
        names = ("tensorboard", "tensorboardX") if reporter == "tensorboard" else (reporter,)
        if not any(is_installed(name) for name in names):
            raise MissingExtra(f"local]' '{names[-1]}", reporter)


def build_argv(folder: Path) -> list[str]:
    """Return the command that trains the job in ``folder``."""
    return [*launch.get_python_command(), "-m", "ftwizard", "_work", str(folder)]


def list_needed_secrets(plan: Plan) -> set[str]:
    """Return the names of the variables with secrets that training by the plan may read."""
    names = set(credentials.HUGGING_FACE)
    for reporter in plan.report_to:
        names.update(credentials.REPORTERS[reporter])
    if plan.evaluate.judge.key_variable:
        names.add(plan.evaluate.judge.key_variable)
    return names


def build_environment(
    plan: Plan, base: Mapping[str, str] | None = None, *, trains: bool = False
) -> dict[str, str]:
    """Return the environment of a process of the plan, with one GPU and only the secrets it needs.

    ``trains``: it is the run, whose training may use several GPUs.
    """
    keep = list_needed_secrets(plan)
    variables = credentials.without_secrets(os.environ if base is None else base, keep)
    # TRL refuses several visible GPUs in one process, and an accidental DataParallel is worse.
    if "CUDA_VISIBLE_DEVICES" not in variables:
        # GPUs are numbered as in the driver and the estimate; CUDA's default starts at the fastest.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    variables["CUDA_VISIBLE_DEVICES"] = (
        _several_gpus(plan.where.processes, visible)
        if trains and plan.where.processes > 1
        else _one_gpu(plan.where.gpu, visible)
    )
    variables.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Waiting threads of libgomp spin. By default one busy neighbor on two cores made a step take 5.5
    # times as long; with this setting 1.9 times, and no slower on an idle machine (measured).
    variables.setdefault("GOMP_SPINCOUNT", "1000")
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    variables["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    variables["PYTHONUNBUFFERED"] = "1"
    return variables


def check_processes(plan: Plan) -> None:
    """Raise FtwizardError for more processes than this machine has GPUs, or without one, CPU cores."""
    if plan.where.processes == 1 or plan.where.scheduler == "slurm":
        return  # the machine need not be looked at
    if problem := machine_checks.find_problem(plan, machine.read_machine_info()):
        raise problem


def _several_gpus(count: int, visible: str | None) -> str:
    """Return the first ``count`` devices for CUDA_VISIBLE_DEVICES."""
    devices = visible.split(",") if visible is not None else list(map(str, range(count)))
    return ",".join(devices[:count])


def _one_gpu(index: int | None, visible: str | None) -> str:
    """Return the device for CUDA_VISIBLE_DEVICES; ``index`` counts visible devices from 0."""
    if visible is None:
        return str(index or 0)
    devices = visible.split(",")
    if index is None:
        return devices[0]
    if index >= len(devices) or not visible:
        raise FtwizardError(
            f"where.gpu is {index}, but CUDA_VISIBLE_DEVICES={visible!r} exposes "
            f"{format_count(len(devices) if visible else 0, 'GPU')}.",
            "Visible GPUs are numbered from 0.",
        )
    return devices[index]
