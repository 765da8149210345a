"""The task file with which SkyPilot rents a machine for an ejected script.

Its fields are those of SkyPilot's YAML reference, docs.skypilot.co; SkyPilot 0.14.1 reads the file (2026-12).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ftwizard.export.training_script import ScriptFacts
from ftwizard.runs.ejected_script import SETUP, start_command

TASK = "task.yaml"
IDLE_MINUTES = 10
"""The machine stops itself after this time without work: a forgotten one costs money."""


def build_task(name: str, gpu: str, facts: ScriptFacts) -> str:
    """Return the text of the task: its setup installs, its run trains, both in the script's folder.

    ``name``: of the cluster in the commands that the file's head shows; ``gpu``: SkyPilot's name of
    one, which each process of the script gets.
    """
    task: dict[str, object] = {
        "name": name,
        "workdir": ".",
        "resources": {
            "accelerators": f"{gpu}:{facts.processes}",
            "autostop": {"idle_minutes": IDLE_MINUTES},
        },
    }
    if Path(facts.model).is_absolute():
        task["file_mounts"] = {facts.model: facts.model}
    task["setup"] = _to_lines(*SETUP)
    task["run"] = _to_lines(start_command(facts.processes))
    yaml = YAML()
    yaml.width = 1_000
    yaml.representer.add_representer(_Lines, _represent_lines)
    text = io.StringIO()
    yaml.dump(task, text)
    return _describe(name, facts) + text.getvalue()


class _Lines(str):
    """A text that YAML shows as a block of lines."""


def _to_lines(*lines: str) -> _Lines:
    return _Lines("".join(f"{line}\n" for line in lines))


def _represent_lines(representer: Any, lines: _Lines) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:str", str(lines), style="|")


def name_cluster(folder: str) -> str:
    """Return a name that SkyPilot accepts for a cluster, from the name of the script's folder."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return f"ft-{name}"[:30].rstrip("-")


def _describe(name: str, facts: ScriptFacts) -> str:
    lines = [
        f"SkyPilot task, written by ftwizard {facts.version} from {facts.origin}.",
        "Run it in this folder. SkyPilot shows the price and asks before it rents a machine:",
        "",
        f"  sky launch -c {name} {TASK}",
        f"  scp -r {name}:sky_workdir/output .    # the result",
        f"  sky down {name}                       # ends the cost",
        "",
        "It copies this folder, with the rows in data/, to the machine.",
    ]
    if not Path(facts.model).is_absolute():
        lines.append(
            f"A model with restricted access: sky launch --secret HF_TOKEN -c {name} {TASK}"
        )
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"
