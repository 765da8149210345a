"""Checks of this machine: what it can do, what is missing, and how to fix it.

``quick`` imports nothing heavy; ``trial`` trains one step in a child process and yields results as
they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftwizard.doctor import (
    driver,
    extras,
    gpu,
    kernels,
    keys,
    limits,
    process_survival,
    storage,
    system,
    trial,
    trial_report,
    versions,
)
from ftwizard.doctor.check import Check, merge, missing
from ftwizard.doctor.driver import NvidiaDriver
from ftwizard.doctor.trial import Started, TrialLimits
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo

__all__ = [
    "Check",
    "Started",
    "TrialLimits",
    "collect_checks",
    "merge",
    "run_quick_checks",
    "trial",
]


def run_quick_checks() -> tuple[list[Check], NvidiaDriver]:
    """Run the quick checks; return them, and the driver for ``trial``."""
    facts = machine.read_machine_info()
    driver_info = _read_driver(facts)
    return collect_checks(facts, driver_info), driver_info


def collect_checks(facts: MachineInfo, driver_info: NvidiaDriver) -> list[Check]:
    """Run all checks that need no trial."""
    build = versions.read_torch_build() if facts.gpus else None
    build_check = versions.check_build(driver_info, build)
    bitsandbytes_check = versions.check_bitsandbytes(driver_info, build)
    return [
        *system.run_checks(),
        *gpu.run_checks(facts, driver_info),
        *([build_check] if build_check else []),
        *kernels.run_checks(facts, driver_info),
        *limits.run_checks(facts, available=limits.get_available_bytes()),
        *storage.run_checks(gpus=len(facts.gpus)),
        *merge([*extras.run_checks()], *([bitsandbytes_check] if bitsandbytes_check else [])),
        *keys.run_checks(facts.credentials),
        *process_survival.check_sessions(facts),
    ]


def run_trial(
    driver_info: NvidiaDriver, argv: Sequence[str] | None = None, limits: TrialLimits | None = None
) -> Iterator[Check | Started]:
    """Train one step in a child process; yield what it starts, and the checks that result.

    ``argv`` is the child's command. A child that crashes or hangs is a result, not an error.
    """
    if argv is None and not machine.is_installed("torch"):
        yield missing(
            "trial", "skipped: torch is not installed", extras.get_install_command("local")
        )
        return
    for event in trial.run_trials(argv, limits):
        if isinstance(event, Started):
            yield event
        else:
            yield from trial_report.to_checks(event, driver_info)


def _read_driver(facts: MachineInfo) -> NvidiaDriver:
    """Query the driver, unless it hangs already or GPUs are hidden on purpose."""
    if facts.no_gpu and "no answer" in facts.no_gpu:
        return NvidiaDriver(hung=True)
    if facts.no_gpu and "CUDA_VISIBLE_DEVICES" in facts.no_gpu:
        return NvidiaDriver()
    return driver.read_driver()
