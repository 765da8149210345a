"""Plan arguments of commands: data files passed by mistake are detected first."""

from __future__ import annotations

import contextlib
import shlex
import stat
from collections.abc import Container, Iterable
from pathlib import Path

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan, RiskName
from ftwizard.runs import hosted
from ftwizard.text import make_visible

DATA_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst")
"""File name endings of data files. A plan may be JSON, which is YAML."""
MAX_BLANKS = 4096
"""Bytes of a ``.json`` file before its first bracket, at most."""
PLAN_SUFFIXES = (".yaml", ".yml")
PLAN_EXAMPLE = (
    "A plan names it: data: {{files: {{train: {name}}}}}, and model: {{name: owner/model}}."
)


def require_local(plan: Plan, consequence: str, name: str = "PLAN") -> None:
    """Raise FtwizardError for a plan, of the file ``name``, that trains at a platform."""
    if plan.is_hosted:
        raise FtwizardError(
            f"This plan trains at {hosted.name_platform(plan.provider)}, so {consequence}.",
            f"For the cost there: ftwizard train {shlex.quote(name)} --dry-run. To train on this machine: "
            "provider: local",
            USAGE,
        )


def is_plan(name: str) -> bool:
    """Return whether a file is a plan, by its name."""
    return name.lower().endswith(PLAN_SUFFIXES)


def is_data(name: str) -> bool:
    """Return whether a file is data by its name; a ``.json`` file also if it begins with a list."""
    if not name.lower().endswith(".json") or _is_special(name):
        return name.lower().endswith(DATA_SUFFIXES)
    with contextlib.suppress(OSError, ValueError), Path(name).open("rb") as file:
        return file.read(MAX_BLANKS).lstrip().startswith((b"[", b"\xef\xbb\xbf["))
    return False


def _is_special(name: str) -> bool:
    """Return whether a name is that of a pipe or a device, whose opening might block."""
    with contextlib.suppress(OSError, ValueError):
        return not stat.S_ISREG(Path(name).stat().st_mode)
    return False


def load(
    name: str,
    allow: Iterable[str],
    *,
    data_hint: str = PLAN_EXAMPLE,
    deferred: Container[RiskName] = (),
) -> Plan:
    """Load the plan.

    ``data_hint``: what to do with a data file, called ``{name}``; ``deferred``: risks that the command
    checks itself. Raises FtwizardError for a data file, SettingsError for an unusable plan.
    """
    if is_data(name):
        shown = make_visible(name, 100)
        raise FtwizardError(
            f"{shown} is a data file, not a plan.", data_hint.format(name=shown), USAGE
        )
    return plan_file.load(Path(name), allow, deferred=deferred)
