"""Checks of a plan against the machine that it trains on."""

from __future__ import annotations

from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan.schema import Plan
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import format_count


def find_problem(plan: Plan, machine: MachineInfo) -> SettingsError | None:
    """Return the error for more processes than the machine has GPUs, or without one, CPU cores."""
    processes = plan.where.processes
    if plan.is_hosted or processes == 1 or plan.where.scheduler == "slurm":
        return None  # one always starts, and of another machine nothing is known here
    count, unit = (len(machine.gpus), "GPU") if machine.gpus else (machine.cores, "CPU core")
    if processes <= count:
        return None
    more = "" if machine.gpus else " and no GPU"
    return SettingsError(
        f"is {processes}, but this machine has {format_count(count, unit)}{more}. Each process takes one.",
        f"Set where.processes to {count}.",
        setting="where.processes",
    )
