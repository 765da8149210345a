"""Check of a job's nodes before they train together: the run's folder, its Python, and equal packages.

The batch script checks the first node, on which it runs. The others are asked by one step on all nodes.
Without the check, a node that differs would end the training much later, or change its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.slurm import client
from ftwizard.text import make_visible

CHECK_S = 180.0
"""Time for all nodes to answer: each starts a Python from a shared disk."""
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
"""Those whose versions must be equal, besides Python's and ftwizard's."""
SILENT = "node_silent"
"""Code of the error for a node that does not answer: Slurm may start the job again elsewhere."""
_PROGRAM = """\
import json, platform, sys, ftwizard
from importlib import metadata
def find(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return "none"
versions = {"Python": platform.python_version(), "ftwizard": ftwizard.__version__}
print(json.dumps({**versions, **{name: find(name) for name in sys.argv[1:]}}))
"""
# Arguments: the token, the run's folder, the Python, and what it executes.
_SCRIPT = """\
say() { printf '%s\\t%s\\t%s\\n' "$SLURMD_NODENAME" "$1" "$2"; exit 0; }
[ "$(cat "$2/slurm.token" 2>/dev/null)" = "$1" ] || say no_folder
[ -x "$3" ] || say no_python "$3"
answer=$("$3" -P -c "${@:4}" 2>&1) || say no_package "$(printf %s "$answer" | tail -n 1)"
say ready "$(printf %s "$answer" | tail -n 1)"
"""
_SHARED = "Install ftwizard in an environment on a disk that all nodes share, and start the run from there."


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a node answered."""

    name: str
    state: Literal["ready", "no_folder", "no_python", "no_package"]
    detail: str = ""
    """What is missing, in the words of the node."""
    versions: dict[str, str] = {}
    """Versions of Python and packages; ``none`` without one."""


def require_equal_nodes(folder: JobFolder, python: str, token: str, nodes: Sequence[str]) -> None:
    """Raise FtwizardError for a node of this allocation on which the run cannot train with the others.

    ``python``: the interpreter that starts the run; ``token``: the word in the run's folder;
    ``nodes``: their names, the first one first.
    """
    command = ["bash", "-c", _SCRIPT, "check", token, str(folder.path), python, _PROGRAM, *PACKAGES]
    output = client.ask_nodes(len(nodes), command, CHECK_S)
    reports = parse_reports(output.text)
    silent = [name for name in nodes if name not in {report.name for report in reports}]
    if problem := find_problem(reports):
        raise problem
    if silent:
        raise _explain_silence(folder, silent, output.errors)


def parse_reports(text: str) -> list[NodeReport]:
    """Read the lines of the nodes; what is not understood is left out."""
    reports = []
    for line in text.splitlines():
        fields = line.split("\t", 2)
        if len(fields) != 3:
            continue
        name, state, detail = fields
        report: dict[str, Any] = {"name": name, "state": state, "detail": detail}
        try:
            if state == "ready":
                versions = msgspec.json.decode(detail, type=dict[str, str])
                report |= {"versions": versions, "detail": ""}
            reports.append(msgspec.convert(report, NodeReport))
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
    return sorted(reports, key=lambda report: report.name)


def find_problem(reports: Sequence[NodeReport]) -> FtwizardError | None:
    """Return the error for the first node that lacks something, or has another version of it."""
    for report in reports:
        name, detail = make_visible(report.name, 60), make_visible(report.detail, 300)
        if report.state == "no_folder":
            return FtwizardError(
                f"Node {name} does not have the run's folder: its disk is not shared.",
                "Set FTWIZARD_HOME to a folder that all nodes have, and start the run again.",
            )
        if report.state == "no_python":
            return FtwizardError(f"Node {name} does not have this Python: {detail}.", _SHARED)
        if report.state == "no_package":
            message = f"On node {name}, this Python could not import ftwizard: {detail}."
            return FtwizardError(message, _SHARED)
    for report in reports[1:]:
        first = reports[0]
        for package, version in first.versions.items():
            other = report.versions.get(package, "none")
            if other != version:
                return FtwizardError(
                    f"Node {make_visible(report.name, 60)} has {package} {make_visible(other, 40)}, "
                    f"and {make_visible(first.name, 60)} has {make_visible(version, 40)}.",
                    "Install the same packages on all nodes, best in one environment on a shared disk.",
                )
    return None


def _explain_silence(folder: JobFolder, silent: Sequence[str], errors: str) -> FtwizardError:
    names = ", ".join(make_visible(name, 60) for name in silent)
    lines = errors.strip().splitlines()
    reason = f": {make_visible(lines[-1], 200)}" if lines else ""
    return FtwizardError(
        f"{names} did not answer, so the run was not started{reason}.",
        f"See what is wrong there: scontrol show node {names}   Then: ftwizard resume {folder.id}",
        code=SILENT,
    )
