"""A user's own TRL script with ``WatchCallback``: stops, kills and several ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs import identity, lock, requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import store
from tests.e2e.cli import as_json, ok, run, run_here
from tests.helpers.jobs import command_pid, events, until, until_ended, until_step
from tests.helpers.training import tiny_model
from tests.paths import ROOT

pytestmark = pytest.mark.slow
SCRIPT = "tests.doubles.watched_script"
TIMEOUT_S = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


class Scripts:
    """Starts the script, and ends what is left of it."""

    def __init__(self, model: Path, root: Path) -> None:
        self._model, self.output = model, root / "out"
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *options: Any, ranks: int = 1) -> subprocess.Popen[str]:
        launcher = ["-m", SCRIPT]
        if ranks > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
                        *launcher]  # fmt: skip
        words = [sys.executable, *launcher, str(self._model), str(self.output), *map(str, options)]
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._processes.append(process)
        return process

    def start_until_step(self, step: int, *options: Any, ranks: int = 1) -> JobFolder:
        """Start the script; return its run once it is at a step."""
        process = self.start(*options, ranks=ranks)
        end = time.monotonic() + TIMEOUT_S
        while not (runs := store.list_runs()):
            assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
            time.sleep(0.1)
        until_step(runs[-1], step, TIMEOUT_S)
        return runs[-1]

    def wait(self) -> str:
        """Return the output of the newest script, which must succeed."""
        process = self._processes[-1]
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, output[-3000:]
        return output

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def scripts(model: Path, tmp_path: Path) -> Iterator[Scripts]:
    started = Scripts(model, tmp_path)
    yield started
    started.end()


def test_stop_from_another_process_saves_and_lets_the_script_go_on(scripts: Scripts) -> None:
    folder = scripts.start_until_step(2, "--steps", 5000, "--step-s", 0.1)
    assert observe(folder).state == "running"
    refused = run("stop", folder.id, "--kill")
    assert refused.returncode == 2 and "never killed from here" in refused.stderr
    assert identity.is_alive((folder.read_state() or pytest.fail()).command)
    stopped = as_json("stop", folder.id)
    assert (stopped["state"], stopped["end_reason"]) == ("ended", "stopped")
    step = stopped["step"]
    assert f"the script's own last line, at step {step}" in scripts.wait()
    assert (scripts.output / f"checkpoint-{step}").is_dir()
    assert list(folder.path.glob("machine.*.jsonl")), "samples of the machine"
    assert "resume_from_checkpoint=True" in ok("status", folder.id)


def test_killed_script_is_lost_and_can_be_removed(scripts: Scripts) -> None:
    folder = scripts.start_until_step(2, "--steps", 5000, "--step-s", 0.1)
    os.kill(command_pid(folder), signal.SIGKILL)
    assert until_ended(folder).end_reason == "lost"
    end = time.monotonic() + TIMEOUT_S
    while lock.is_held(folder.lock):  # a killed process closes its files a moment later
        assert time.monotonic() < end
        time.sleep(0.05)
    status = as_json("status", folder.id)
    assert (status["state"], status["end_reason"]) == ("ended", "lost")
    assert "it was killed, or the machine went down" in ok("status", folder.id)
    ok("remove", folder.id, "--yes")
    assert not store.list_runs() and scripts.output.is_dir()


def test_suspended_script_is_reported_and_left_alone(scripts: Scripts) -> None:
    folder = scripts.start_until_step(2, "--steps", 5000, "--step-s", 0.1)
    pid = command_pid(folder)
    os.kill(pid, signal.SIGSTOP)
    status = until(folder, lambda status: bool(status.liveness.troubles))
    assert status.liveness.troubles == ("suspended",)
    os.kill(pid, signal.SIGCONT)
    until(folder, lambda status: not status.liveness.troubles)


def test_exception_ends_the_run_with_its_message(scripts: Scripts) -> None:
    process = scripts.start("--crash-at", 3)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1 and "Traceback" in output, "the script's own traceback stays"
    (folder,) = store.list_runs()
    status = observe(folder)
    assert status.end_reason == "crashed" and "full of braces {}" in status.message


def test_two_ranks_stop_at_the_same_step(scripts: Scripts) -> None:
    folder = scripts.start_until_step(2, "--steps", 5000, "--step-s", 0.1, ranks=2)
    stopped = as_json("stop", folder.id)
    assert stopped["end_reason"] == "stopped"
    output = scripts.wait()
    assert output.count(f"the script's own last line, at step {stopped['step']}") == 2
    assert [run.id for run in store.list_runs()] == [folder.id], "only the first rank writes"
    assert folder.read_job().inputs["processes"] == 2


def test_callback_in_one_rank_only_leaves_no_rank_waiting(scripts: Scripts) -> None:
    options = ("--steps", 60, "--step-s", 0.2, "--first-rank-only")
    folder = scripts.start_until_step(2, *options, ranks=2)
    requests.send(folder, "stop", folder.newest_attempt())
    assert scripts.wait().count("the script's own last line, at step 60") == 2
    assert observe(folder).end_reason == "finished"
    (finding,) = [event for event in events(folder, "finding") if event["code"] == "cannot_signal"]
    assert "in all processes" in finding["action"]


def test_commands_that_need_a_run_of_our_own_say_why(scripts: Scripts) -> None:
    scripts.start("--steps", 2, "--name", "mine")
    scripts.wait()
    for words in (
        ("resume", "mine"), ("branch", "mine"), ("merge", "mine"), ("eval", "mine"),
        ("export", "mine", "--to", "gguf"), ("verify", "mine"), ("serve", "mine"),
        ("chat", "mine", "--prompt", "x"), ("card", "mine"), ("push", "mine", "--repo", "a/b"),
        ("eject", "mine", "--out", "ejected"), ("reproduce", "mine"), ("download", "mine"),
    ):  # fmt: skip
        refused = run_here(*words)
        assert refused.returncode != 0, words
        assert "a script of your own" in refused.stderr, (words, refused.stderr)
    assert "mine" in run_here("runs").stdout
    assert run_here("diagnose", "mine").returncode == 0
    scripts.start("--steps", 2, "--name", "other")
    scripts.wait()
    assert run_here("compare", "mine", "other").returncode == 0
