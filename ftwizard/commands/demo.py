"""``demo``: the main job end to end, on the sample that comes with ftwizard."""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib.resources import as_file, files

from ftwizard import models, plan, runs, settings
from ftwizard.commands import output
from ftwizard.commands.runs import read_result
from ftwizard.commands.train import start
from ftwizard.commands.watch import follow
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.paths import local
from ftwizard.text import visible

SAMPLE = "tickets"


def demo(arguments: argparse.Namespace) -> int:
    """Fine-tune the sample, follow it to its end, and show five pairs of answers."""
    chosen = sample_plan()
    local.check_installed(chosen)
    source = models.locate(chosen.model.name, chosen.model.revision)
    console = output.console(stderr=arguments.json)
    for line in (
        "A real fine-tune, end to end: support tickets → JSON that names team and priority.",
        f"  model   {source.said}",
        f"  data    {chosen.data.files.train}",
        f"  runs    {settings.runs_folder()}",
        "  takes   about five minutes on two processor cores, less on a GPU; about 1 GB of disk",
    ):
        console.print(line, soft_wrap=True)
    if not arguments.yes and not _agreed():
        return DECLINED
    folder = start(chosen, runs.new_id("demo"))
    code = follow(folder, as_json=arguments.json)
    if code == 0 and not arguments.json and (pairs := _pairs(folder)):
        console.print("\n".join(pairs), soft_wrap=True)
    return code


def sample_plan() -> plan.Plan:
    """Copy the packaged sample where it can be looked at and kept, and return its plan."""
    target = settings.private_folder(settings.home() / "samples") / SAMPLE
    with as_file(files("ftwizard").joinpath("assets", "samples", SAMPLE)) as packaged:
        shutil.copytree(packaged, target, dirs_exist_ok=True)
    return plan.load(target / "plan.yaml")


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise FtwizardError(
            "There is no terminal to ask at.", "Start it without asking: ftwizard demo --yes", USAGE
        )
    print("Begin? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _pairs(folder: JobFolder) -> list[str]:
    compared = read_result(folder).get("compare", {})
    lines: list[str] = []
    for pair in compared.get("pairs", []):
        lines += [
            "",
            f"ticket    {visible(pair['prompt'][-1]['content'], 200)}",
            f"expected  {visible(pair['expected'], 200)}",
            f"base      {visible(pair['base'], 200)}",
            f"tuned     {visible(pair['tuned'], 200)}",
        ]
    return lines
