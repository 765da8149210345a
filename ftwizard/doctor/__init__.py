"""What this machine can do, and what is missing: each finding with what to do about it.

``quick`` looks without importing anything heavy; ``trial`` starts a child process that trains a
step, and yields findings as they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftwizard import machine
from ftwizard.doctor import (
    disks,
    driver,
    explain,
    extras,
    gpu,
    kernels,
    keys,
    limits,
    sessions,
    smoke,
    system,
    versions,
)
from ftwizard.doctor.check import Check, merge, missing
from ftwizard.doctor.driver import Driver
from ftwizard.doctor.smoke import Doing, Limits
from ftwizard.machine import Facts

__all__ = ["Check", "Doing", "Limits", "checks", "merge", "quick", "trial"]


def quick() -> tuple[list[Check], Driver]:
    """Look at this machine now; return the findings, and the driver for ``trial``."""
    facts = machine.facts()
    said = _driver(facts)
    return checks(facts, said), said


def checks(facts: Facts, said: Driver) -> list[Check]:
    """Return what is found without trying anything."""
    build = versions.torch_build() if facts.gpus else None
    fits = versions.build_fits(said, build)
    quantises = versions.bitsandbytes_fits(said, build)
    return [
        *system.look(),
        *gpu.look(facts, said),
        *([fits] if fits else []),
        *kernels.look(facts, said),
        *limits.look(facts, available=limits.available_bytes()),
        *disks.look(gpus=len(facts.gpus)),
        *merge([*extras.look()], *([quantises] if quantises else [])),
        *keys.look(facts.credentials),
        *sessions.look(facts),
    ]


def trial(
    said: Driver, argv: Sequence[str] | None = None, limits: Limits | None = None
) -> Iterator[Check | Doing]:
    """Train a step in a child process; yield what it is about to do, and what is found.

    ``argv`` is the child's command. Raises nothing for a child that crashes or hangs.
    """
    if argv is None and not machine.is_installed("torch"):
        yield missing("trial", "not tried: torch is not installed", extras.install("local"))
        return
    for word in smoke.words(argv, limits):
        if isinstance(word, Doing):
            yield word
        else:
            yield from explain.checks(word, said)


def _driver(facts: Facts) -> Driver:
    """Ask the driver more, unless it hangs already or GPUs are hidden on purpose."""
    if facts.no_gpu and "no answer" in facts.no_gpu:
        return Driver(hung=True)
    if facts.no_gpu and "CUDA_VISIBLE_DEVICES" in facts.no_gpu:
        return Driver()
    return driver.read()
