"""``demo``: the main job end to end, on the sample that comes with ftwizard."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import sys
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from ftwizard import models, plan, runs, settings
from ftwizard.commands import output
from ftwizard.commands.runs import read_result
from ftwizard.commands.train import start
from ftwizard.commands.watch import follow
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.paths import local
from ftwizard.text import visible

if TYPE_CHECKING:
    from rich.console import Console

SAMPLE = "tickets"


def demo(arguments: argparse.Namespace) -> int:
    """Fine-tune the sample, follow it to its end, and show five pairs of answers."""
    chosen = sample_plan()
    local.check_installed(chosen)
    source = models.locate(chosen.model.name, chosen.model.revision)
    console = output.console(stderr=arguments.json)
    output.say(
        console, "A real fine-tune, end to end: support tickets become JSON of one form.", ""
    )
    console.print(
        output.pairs(
            [
                ("model", source.said),
                ("data", chosen.data.files.train),
                ("runs", str(settings.runs_folder())),
                (
                    "takes",
                    "two to five minutes on two processor cores, less on a GPU; about 1 GB of disk",
                ),
            ]
        )
    )
    output.say(console, "")
    if not arguments.yes and not _agreed():
        return DECLINED
    folder = start(chosen, runs.new_id("demo"))
    code = follow(folder, as_json=arguments.json)
    if code == 0 and not arguments.json:
        _show_pairs(folder, console)
    return code


def sample_plan() -> plan.Plan:
    """Copy the packaged sample where it can be looked at and kept, and return its plan.

    Each version has a folder of its own: runs go on needing the rows that they began with.
    """
    root = settings.private_folder(settings.home() / "samples")
    with as_file(files("ftwizard").joinpath("assets", "samples", SAMPLE)) as packaged:
        digest = hashlib.sha256()
        for file in sorted(packaged.glob("*.jsonl")):
            digest.update(file.read_bytes())
        digest.update((packaged / "plan.yaml").read_bytes())
        target = root / f"{SAMPLE}-{digest.hexdigest()[:8]}"
        if not target.exists():
            part = root / f".{target.name}.{os.getpid()}.part"
            shutil.copytree(packaged, part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
            with contextlib.suppress(OSError):  # another demo was faster
                part.rename(target)
            shutil.rmtree(part, ignore_errors=True)
    return plan.load(target / "plan.yaml")


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise FtwizardError(
            "There is no terminal to ask at.", "Start it without asking: ftwizard demo --yes", USAGE
        )
    print("Begin? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _show_pairs(folder: JobFolder, console: Console) -> None:
    for pair in read_result(folder).get("compare", {}).get("pairs", []):
        output.say(console, "")
        console.print(
            output.pairs(
                [
                    ("ticket", visible(pair["prompt"][-1]["content"], 200)),
                    ("expected", visible(pair["expected"], 200)),
                    ("base", visible(pair["base"], 200)),
                    ("tuned", visible(pair["tuned"], 200)),
                ]
            )
        )
