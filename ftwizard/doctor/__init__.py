"""Checks of this machine: what it can do, what is missing, and how to fix it.

``run_quick_checks`` imports nothing heavy; ``run_trial`` trains one step in a child process and
yields results as they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftwizard.doctor import (
    extras,
    gpu,
    process_survival,
    storage,
    system,
    trial,
    trial_report,
    versions,
)
from ftwizard.doctor.check import Check, DoctorReport, missing
from ftwizard.doctor.trial import QUIET_S, Started
from ftwizard.hardware import machine, nvml
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hardware.nvml import NvidiaDriver

__all__ = ["Check", "DoctorReport", "Started", "collect_checks", "run_quick_checks", "run_trial"]


def run_quick_checks() -> tuple[list[Check], NvidiaDriver]:
    """Run the quick checks; return them, and the driver for ``run_trial``."""
    facts = machine.read_machine_info()
    if facts.no_gpu_cause in ("hung", "hidden"):  # do not wait again, nor look at hidden GPUs
        driver = NvidiaDriver(cause=facts.no_gpu_cause)
    else:
        driver = nvml.read_driver()
    return collect_checks(facts, driver), driver


def collect_checks(facts: MachineInfo, driver: NvidiaDriver) -> list[Check]:
    """Run all checks that need no trial."""
    return [
        *system.check_software(),
        *gpu.run_checks(facts, driver),
        *versions.check_build(driver, versions.read_torch_build() if facts.gpus else None),
        *system.check_limits(facts),
        *storage.run_checks(),
        *extras.run_checks(),
        *system.check_keys(facts.credentials),
        *process_survival.run_checks(),
    ]


def run_trial(
    driver: NvidiaDriver, argv: Sequence[str] | None = None, quiet_s: float = QUIET_S
) -> Iterator[Check | Started]:
    """Train one step in a child process; yield what it starts, and the checks that result.

    ``argv`` is the child's command. A child that crashes, or is silent for ``quiet_s``, is a result,
    not an error.
    """
    if argv is None and not machine.is_installed("torch"):
        fix = extras.get_install_command("local")
        yield missing("trial", "skipped: torch is not installed", fix)
        return
    for event in trial.run_trials(argv, quiet_s):
        if isinstance(event, Started):
            yield event
        else:
            yield from trial_report.to_checks(event, driver)
