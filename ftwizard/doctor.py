"""What this machine can do, and what is missing: each finding with what to do about it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import Requirement

from ftwizard import machine, settings
from ftwizard.advice import questions
from ftwizard.machine import Facts
from ftwizard.text import plural, size, visible

LOW_DISK_BYTES = 10_000_000_000
"""Below this a run of a 1B model may not fit (three checkpoints and a merged model)."""
LOGIND = Path("/etc/systemd/logind.conf")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "missing"]
    found: str
    fix: str = ""
    """What to do; empty where nothing needs to be."""


def checks(facts: Facts) -> list[Check]:
    """Look at this machine; nothing heavy is imported."""
    return [
        _python(),
        *_gpu(facts),
        _memory(facts),
        _disk(facts),
        *_packages(),
        *_keys(facts),
        *_sessions(),
    ]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="Python", status="ok", found=f"{version} in {sys.prefix}")


def _gpu(facts: Facts) -> Iterator[Check]:
    seen = dict(questions.seen(facts))
    if facts.gpus:
        yield Check(name="GPU", status="ok", found=seen["GPU"])
        torch = _version("torch") or ""
        if torch.endswith("+cpu"):
            yield Check(
                name="torch",
                status="missing",
                found=f"{torch} cannot use the GPU",
                fix="Install the CUDA build: https://pytorch.org/get-started/locally/",
            )
        return
    yield Check(
        name="GPU",
        status="warning",
        found=seen["GPU"],
        fix="Small models train on processors; for larger ones use a machine with an NVIDIA GPU.",
    )


def _memory(facts: Facts) -> Check:
    bf16 = "they multiply bf16" if facts.bfloat16_cpu else "they do not multiply bf16"
    found = f"{size(facts.memory)}, {plural(facts.cores, 'core')} ({bf16})"
    return Check(name="memory", status="ok", found=found)


def _disk(facts: Facts) -> Check:
    found = f"{size(facts.disk_free)} free where {visible(str(settings.home()))} is"
    if facts.disk_free >= LOW_DISK_BYTES:
        return Check(name="disk", status="ok", found=found)
    fix = "Free some space, or set FTWIZARD_HOME to a folder on a larger disk."
    return Check(name="disk", status="warning", found=found, fix=fix)


def _packages() -> Iterator[Check]:
    """Compare what is installed with what the extra ``local`` asks for."""
    for line in metadata.requires("ftwizard") or []:
        wanted = Requirement(line)
        if wanted.marker is None or not wanted.marker.evaluate({"extra": "local"}):
            continue
        version = _version(wanted.name)
        if version is None:
            status: Literal["ok", "missing"] = "missing"
            found = "not installed"
        else:
            good = wanted.specifier.contains(version, prereleases=True)
            status, found = (
                ("ok", version) if good else ("missing", f"{version}, needs {wanted.specifier}")
            )
        fix = "" if status == "ok" else "pip install 'ftwizard[local]'"
        yield Check(name=wanted.name, status=status, found=found, fix=fix)


def _keys(facts: Facts) -> Iterator[Check]:
    for one in facts.credentials:
        yield Check(name=f"key: {one.service}", status="ok", found=one.where)


def _sessions() -> Iterator[Check]:
    """Say where a run would end with the session that started it."""
    try:
        text = LOGIND.read_text()
    except OSError:
        return
    if re.search(r"(?mi)^\s*KillUserProcesses\s*=\s*(yes|true|1|on)\s*$", text):
        yield Check(
            name="logind",
            status="warning",
            found=f"KillUserProcesses is on in {LOGIND}: runs end when you log out",
            fix=f"loginctl enable-linger {os.environ.get('USER', '$USER')}",
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def look() -> list[Check]:
    """Look at this machine now."""
    return checks(machine.facts())
