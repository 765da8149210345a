"""Random kills of whole runs: nothing that was saved is lost, and no end reason is false.

    python -m tests.benchmarks.kills [--kills 100] [--seed 1] [--processes 2]

One run is left alone. The others are the same, but their trainer, their keeper or both, or one of
several training processes or their agent, are killed at a random moment of a random phase (loading, training, saving, merging, comparing …) and resumed.
Each must end with the losses, adapter, merged weights and answers of the undisturbed run, must
continue from the newest checkpoint that was complete at the kill, and must say that it was killed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ftwizard.jobs import identity
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import checkpoints
from tests.e2e.cli import ok
from tests.e2e.workspace import losses
from tests.helpers.jobs import events, until_ended
from tests.helpers.models import make_tiny
from tests.helpers.training import rows

MOST_PER_RUN = 8
"""Kills of one run; then it is left to finish."""
TIMEOUT_S = 300.0
TARGETS = {"trainer": 0.6, "keeper": 0.2, "both": 0.2}
RANK_TARGETS = {"rank": 0.4, "agent": 0.1, "trainer": 0.2, "keeper": 0.1, "both": 0.2}
"""Targets in a run of several processes."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """A place in the undisturbed run: the phase, and how long it lasted."""

    phase: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as root:
        return _run(Path(root), arguments.kills, dice, arguments.processes)


def _run(root: Path, kills: int, dice: random.Random, processes: int) -> int:
    os.environ |= {"FTWIZARD_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
    plan = _write_plan(root, processes)
    straight = _start(plan, "straight")
    until_ended(straight, TIMEOUT_S)
    moments, wanted = _read_moments(straight), _read_outcome(straight)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    problems: list[str] = []
    targets = RANK_TARGETS if processes > 1 else TARGETS
    runs = 0
    while counts.total() < kills:
        runs += 1
        folder = _start(plan, f"victim-{runs}")
        for _ in range(min(MOST_PER_RUN, kills - counts.total())):
            killed = _kill_once(folder, dice.choice(moments), dice, targets, problems)
            if killed is None:
                break
            counts[killed] += 1
        _finish(folder, wanted, problems)
        print(f"{counts.total()} kills, {runs} runs", *problems, sep="\n", flush=True)
    for (phase, target), count in sorted(counts.items()):
        print(f"{phase:<12} {target:<8} {count}")
    print(
        f"{len(problems)} problems" if problems else "Nothing was lost; each end reason was true."
    )
    return 1 if problems else 0


def _write_plan(root: Path, processes: int) -> Path:
    for name, part in (
        ("train", rows(240)),
        ("validation", rows(12, 500)),
        ("test", rows(12, 700)),
    ):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    plan = {
        "data": {"files": {name: f"{name}.jsonl" for name in ("train", "validation", "test")}},
        "model": {"name": str(make_tiny(root / "tiny"))},
        "recipe": {
            "batch_size": 2, "epochs": 1, "rank": 4, "dropout": 0.05, "learning_rate": 5e-3,
            "max_length": 200, "save_steps": 7, "evaluation_steps": 20, "patience": 99,
        },
        "where": {"processes": processes},
        "samples": {"count": 1},
        "finish": {"merge": True, "compare": True, "max_new_tokens": 16},
    }  # fmt: skip
    path = root / "plan.yaml"
    path.write_text(json.dumps(plan))
    return path


def _start(plan: Path, name: str) -> JobFolder:
    ok("train", plan, "--name", name)
    return JobFolder(Path(os.environ["FTWIZARD_HOME"]) / "runs" / name)


def _phases(folder: JobFolder) -> Iterator[tuple[str, int, float]]:
    """Yield the name, the attempt and the time of each change of the phase."""
    newest = None
    for event in events(folder):
        if event["kind"] == "checkpoint":
            name = "training"
        elif event["kind"] == "phase":
            name = " ".join(str(event[key]) for key in ("phase", "what") if event.get(key))
        else:
            continue
        if (name, event["attempt"]) != newest:
            newest = name, event["attempt"]
            yield name, event["attempt"], event["t"]


def _read_moments(folder: JobFolder) -> list[Moment]:
    """Return each phase of the undisturbed run with its length."""
    phases = list(_phases(folder))
    ends = [*(begin for *_, begin in phases[1:]), events(folder)[-1]["t"]]
    lengths: dict[str, float] = {}
    for (name, _, begin), end in zip(phases, ends, strict=True):
        lengths[name] = lengths.get(name, 0.0) + end - begin
    return [Moment(name, seconds) for name, seconds in lengths.items()]


def _read_outcome(folder: JobFolder) -> dict[str, Any]:
    """Return what must not differ."""
    status = observe(folder)
    assert status.end_reason == "finished", status
    weights = [folder.adapter / "adapter_model.safetensors", folder.merged / "model.safetensors"]
    return {
        "losses": losses(folder),
        "validation": {e["step"]: e["eval_loss"] for e in events(folder, "eval")},
        "weights": [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights],
        "answers": (folder.evaluations / "tuned.jsonl").read_text(),
    }


def _kill_once(
    folder: JobFolder,
    moment: Moment,
    dice: random.Random,
    targets: dict[str, float],
    problems: list[str],
) -> tuple[str, str] | None:
    """Kill at that moment, then resume; return the phase and the target, None if the run had ended."""
    if not _wait_for(folder, moment):
        return None
    time.sleep(dice.uniform(0, moment.seconds))
    target = dice.choices(list(targets), list(targets.values()))[0]
    state = folder.read_state()
    if observe(folder).state == "ended" or state is None or state.command is None:
        return None
    both = [state.keeper, state.command]
    victims = {"trainer": both[1:], "keeper": both[:1]}.get(target, both)
    if target in ("rank", "agent"):
        ranks = [
            identity.from_pid(pid)
            for pid in _find(folder, "_rank" if target == "rank" else "_ranks")
        ]
        if not ranks:  # only while it trains
            return None
        victims = [dice.choice(ranks)]
    # Without a keeper, nobody sees whether the trainer was killed or the machine went down. The
    # death of a rank is seen by the trainer that started the ranks.
    witness = state.command if target in ("rank", "agent") else state.keeper
    has_witness = target not in ("keeper", "both") and bool(identity.is_alive(witness))
    kept = checkpoints.all_complete(folder.checkpoints)
    for victim in victims:
        if victim:
            with suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)
    if target == "keeper":  # the trainer goes on without it
        return moment.phase, target
    status = until_ended(folder, 60)
    if status.end_reason == "finished":
        return None
    where = f"{folder.id} {moment.phase} {target}"
    if status.end_reason != ("killed" if has_witness else "lost"):
        problems.append(f"{where}: end reason {status.end_reason}")
    _resume(folder, where, status, kept, problems)
    return moment.phase, target


def _find(folder: JobFolder, command: str) -> list[int]:
    """Return the processes of a run that carry out that hidden command."""
    pids = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if command in (words := process.cmdline()) and str(folder.path) in words:
                pids.append(process.pid)
    return pids


def _wait_for(folder: JobFolder, moment: Moment) -> bool:
    """Wait until the newest attempt enters the phase; return False if it ended before."""
    while True:
        status = observe(folder)
        if any((name, n) == (moment.phase, status.attempt) for name, n, _ in _phases(folder)):
            return status.state != "ended"
        if status.state == "ended":
            return False
        time.sleep(0.05)


def _resume(
    folder: JobFolder,
    where: str,
    status: Status,
    kept: list[checkpoints.Checkpoint],
    problems: list[str],
) -> None:
    ok("resume", folder.id)
    origin = folder.read_attempt(folder.newest_attempt()).checkpoint
    step = int(origin.rpartition("-")[2]) if origin else 0
    if kept and step < kept[-1].step:
        problems.append(f"{where}: continued from {step}, {kept[-1].step} was complete")
    if folder.newest_attempt() != status.attempt + 1:
        problems.append(f"{where}: attempt {folder.newest_attempt()} after {status.attempt}")


def _finish(folder: JobFolder, wanted: dict[str, Any], problems: list[str]) -> None:
    if until_ended(folder, TIMEOUT_S).end_reason != "finished":
        ok("resume", folder.id)
        until_ended(folder, TIMEOUT_S)
    try:
        outcome = _read_outcome(folder)
    except (AssertionError, OSError) as error:
        problems.append(f"{folder.id}: {error}")
        return
    for name, value in wanted.items():
        if outcome[name] != value:
            problems.append(f"{folder.id}: other {name}")


if __name__ == "__main__":
    sys.exit(main())
