"""The batch script of a run: literals only, a pure function of the plan and the run's folder."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.jobs import allocation
from ftwizard.plan.schema import Plan, Slurm

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_VERSION_CHECK = (
    "import sys, ftwizard; here, there = ftwizard.__version__, sys.argv[1]; "
    'here == there or print("It has", here, "and the run was submitted with", there); '
    f"sys.exit({allocation.OTHER_VERSION} * (here != there))"
)
"""Program for the node's Python, with the version that submitted the run as its argument."""
PROBE_MINUTES = 30
"""Time limit of a probe in an allocation."""


class ScriptContext(NamedTuple):
    """What a script names besides the plan."""

    folder: Path
    """The run's folder."""
    python: str
    token: str
    """The word in the folder by which the node recognizes it."""
    variables: dict[str, str]
    """Variables of the environment, none of them secret."""
    version: str


def render(plan: Plan, context: ScriptContext) -> str:
    """Return the script as text."""
    settings, name = plan.slurm, context.folder.name
    options = [f"#SBATCH --{option}" for option in list_options(settings, name)]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in context.variables.items()]
    values = {
        "NAME": name,
        "VERSION": context.version,
        "OPTIONS": "\n".join(options),
        "FOLDER": shlex.quote(str(context.folder)),
        "PYTHON": shlex.quote(context.python),
        "TOKEN": shlex.quote(context.token),
        "EXPORTS": "\n".join(exports),
        "PRELUDE": settings.prelude.rstrip("\n"),
        "VERSION_CHECK": f"{shlex.quote(_VERSION_CHECK)} {shlex.quote(context.version)}",
        "STEP_OPTIONS": _list_step_options(settings),
        "NO_FOLDER": str(allocation.NO_FOLDER),
        "NO_PYTHON": str(allocation.NO_PYTHON),
        "NO_PACKAGE": str(allocation.NO_PACKAGE),
        "OTHER_VERSION": str(allocation.OTHER_VERSION),
        "REQUEUE": str(allocation.REQUEUE),
        "NOT_REQUEUED": str(allocation.NOT_REQUEUED),
    }
    # In one pass: a value may look like a placeholder.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], _read_template())


def list_options(settings: Slurm, name: str) -> list[str]:
    """Return the options of ``sbatch``, without dashes; what is not set is left to the cluster."""
    gpus = f"{settings.gpu_type}:{settings.gpus}" if settings.gpu_type else str(settings.gpus)
    options = {
        "job-name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "nodes": settings.nodes,
        "ntasks-per-node": "1",
        "gpus-per-node": gpus if settings.gpus else None,
        "cpus-per-task": settings.cpus,
        "mem": settings.memory,
        "time": settings.time,
        "constraint": settings.constraint,
        "signal": f"B:USR1@{settings.stop_before_s}",
        # Slurm could not start a job whose output it cannot open, and would not say why.
        "output": "/dev/null",
    }
    listed = [f"{option}={value}" for option, value in options.items() if value is not None]
    return [*listed, "requeue" if settings.requeue else "no-requeue"]


def build_probe_command(settings: Slurm, processes: int, plan: str) -> str:
    """Return the command that probes a plan file on one node of its kind, with a GPU for each of its
    ``processes``."""
    smallest = msgspec.structs.replace(
        settings, nodes=1, gpus=min(processes, settings.gpus), time=PROBE_MINUTES
    )
    left_out = ("job-name", "signal", "output", "requeue", "no-requeue")
    options = [o for o in list_options(smallest, "") if o.split("=")[0] not in left_out]
    words = ["srun", *(f"--{option}" for option in options), "ftwizard", "probe", plan]
    return shlex.join(words)


def _list_step_options(settings: Slurm) -> str:
    """Return the options of the step that starts the run on the first node."""
    cpus = f" --cpus-per-task={settings.cpus}" if settings.cpus else ""
    # The step that trains on all nodes shares what this one has.
    shared = ' --nodelist="$SLURMD_NODENAME" --overlap' if settings.nodes > 1 else ""
    return cpus + shared


@cache
def _read_template() -> str:
    return files("ftwizard").joinpath("assets", "job.sbatch").read_text("utf-8")
