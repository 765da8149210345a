"""Verdict, failures, gain and CPU time of the demo with other seeds.

    python -m tests.benchmarks.demo_seeds [--seeds 10] [--first 1] [--forget] [--set recipe.rank=8 ...]

Goals of the demo: in at least 8 of 10 seeds no failure is found and a gain is shown, in at most 8 minutes on
two quiet cores: 960 CPU seconds. The first run also downloads and converts the model.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from ftwizard.__main__ import main as run_ftwizard
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import changes, plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs.evaluation_files import find_newest, list_judgments

_SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER``: jobs that outlive their parent become children of this process, so that
their CPU time is counted."""


def run_seed(seed: int, settings: list[str], *, forgets: bool) -> int:
    """Run the demo in this process with another seed of draw, items and training."""
    load = plan_file.load

    def load_seeded(*arguments: Any, **options: Any) -> Plan:
        words = [f"recipe.seed={seed}", f"data.split.seed={seed}", *settings]
        return changes.set_values(load(*arguments, **options), words)

    with mock.patch.object(plan_file, "load", load_seeded):
        return run_ftwizard(["demo", "--yes", "--json", *(["--forget"] if forgets else [])])


def measure_seed(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the demo in a child, and return what it ended with."""
    before = _measure_cpu()
    words = [f"--set={text}" for text in arguments.set] + ["--forget"] * arguments.forget
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.demo_seeds", f"--only={seed}", *words],
        stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    _wait_for_orphans()
    folder = JobFolder(Path(json.loads(done.stdout)["folder"]))
    newest = find_newest(folder)
    if newest is None or newest.evaluation.target is None:
        return {"seed": seed, "code": done.returncode, "verdict": None, "folder": str(folder.path)}
    evaluation, target = newest.evaluation, newest.evaluation.target
    measure = next(change for change in target.evidence if change.measure == "match")
    return {
        "seed": seed,
        "verdict": evaluation.verdict,
        "reason": evaluation.reasons[0].failure or evaluation.reasons[0].name,
        "strength": newest.scale,
        "failures": {failure.name: failure.found for failure in evaluation.failures},
        "right": [round(value * measure.rows) for value in (measure.base, measure.tuned)],
        "helped": target.outcome,
        "judged_again": len(list_judgments(folder)),
        "cpu_s": round(_measure_cpu() - before),
        "folder": str(folder.path),
    }


def _measure_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_orphans() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--forget", action="store_true")
    parser.add_argument(
        "--set", action="append", default=[], help="setting of the plan, as in train"
    )
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        return run_seed(arguments.only, arguments.set, forgets=arguments.forget)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    os.environ.setdefault("FTWIZARD_HOME", tempfile.mkdtemp(prefix="demo-seeds-"))
    results = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        results.append(measure_seed(seed, arguments))
        print(json.dumps(results[-1]), flush=True)
    good = [
        each for each in results
        if each["verdict"] and each["helped"] == "helped" and True not in each["failures"].values()
    ]  # fmt: skip
    print(f"{len(good)} of {len(results)}: no failure found, and a gain is shown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
