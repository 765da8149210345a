"""The real command at each platform: from a file of rows to a tuned model, whatever is killed."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.providers import launcher
from ftwizard.providers.launcher import RESTART_POLLS
from ftwizard.runs import remote
from tests.doubles.openai_service import UNSAFE_MODEL
from tests.doubles.together_service import QWEN
from tests.e2e.cli import FTWIZARD, as_json_here, ok, ok_here, run, run_here
from tests.helpers.followed_jobs import write_plan
from tests.helpers.hosted_doubles import PLATFORMS, HostedDouble, serve_double_process
from tests.helpers.jobs import command_pid, events, keeper_pid, until, until_ended
from tests.helpers.results import read_target
from tests.paths import TICKETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
EVALUATED: dict[str, Any] = {
    "finish": {"compare": True, "max_new_tokens": 24},
    "evaluate": {"general": False, "safety": False, "shots": 0},
}
"""Settings of a plan whose tuned model is compared with its base on the test rows only."""
KILLS: dict[str, tuple[tuple[str, str], ...]] = {
    "openai": (
        ("upload", "hold"), ("upload", "hold_reply"), ("check file", "hold"), ("create", "hold"),
        ("look up", "hold"), ("events", "hold"), ("results", "hold"), ("checkpoints", "hold"),
        ("ask", "hold_reply"),
    ),
    "foundry": (("upload", "hold"), ("create", "hold_reply"), ("events", "hold_reply")),
    "together": (
        ("upload", "hold"), ("store", "hold_reply"), ("preprocess", "hold"), ("price", "hold"),
        ("create", "hold_reply"), ("look up", "hold"), ("metrics", "hold"), ("checkpoints", "hold"),
    ),
    "bedrock": (
        ("upload", "hold"), ("upload", "hold_reply"), ("create", "hold_reply"), ("look up", "hold"),
        ("results", "hold"), ("deploy", "hold_reply"), ("ask", "hold_reply"),
    ),
    "mantle": (("upload", "hold"), ("create", "hold_reply"), ("events", "hold")),
    "vertex": (
        ("upload", "hold"), ("upload", "hold_reply"), ("create", "hold"), ("look up", "hold"),
        ("ask", "hold_reply"),
    ),
}  # fmt: skip
"""Calls in which a follower is killed, one after the other."""
STARTS = 1 + len(RESTART_POLLS)
"""Times that a keeper starts a follower that is killed each time."""


@pytest.fixture(params=PLATFORMS)
def double(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostedDouble]:
    provider: HostedProvider = request.param
    scenarios: dict[str, dict[str, Any]] = {
        "together": {"serves_tuned": True},
        "bedrock": {"requests_per_minute": 60_000},
    }
    scenario = scenarios.get(provider, {})
    with serve_double_process(provider, **scenario) as service:
        monkeypatch.setenv("FTWIZARD_POLL_S", "0.1")
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def get_folder(home: Path, run_id: str) -> JobFolder:
    return JobFolder(home / "runs" / run_id)


def start(
    plan: Path, home: Path, *more: object, command: Callable[..., str] = ok_here
) -> JobFolder:
    """Start a hosted plan; assert that stdout has the id of the run only.

    A keeper that the test kills needs ``ok``: as a child of the test's process, it would remain as
    a zombie.
    """
    lines = command("train", plan, "--yes", *more).splitlines()
    assert len(lines) == 1, lines
    return get_folder(home, lines[0])


def require_finished(double: HostedDouble, folder: JobFolder) -> dict[str, Any]:
    """Assert that a run has finished with the only job; return its ``result.json``."""
    assert until_ended(folder, 60).end_reason == "finished", folder.events.read_text()[-2000:]
    (job,) = double.list_jobs()
    status = as_json_here("status", folder.id)
    assert status["remote"]["provider"] == double.provider
    assert status["remote"]["job_id"] == job["id"]
    result: dict[str, Any] = json.loads(folder.result.read_text())
    assert result["remote"]["model"] == status["remote"]["model"]
    has_price = double.provider not in ("foundry", "mantle")
    costs: tuple[str, ...] = ("predicted_cost",) if has_price else ()
    if double.counts_tokens:
        assert result["remote"]["trained_tokens"] > 0
        costs = costs and (*costs, "actual_cost")
    for name in costs:
        assert result["remote"][name]["value"] >= 0
    steps = [event["step"] for event in events(folder, "log")]
    assert bool(steps) == double.writes_losses and steps == sorted(set(steps))
    return result


def require_no_key(double: HostedDouble, root: Path) -> None:
    """Assert that the key is in no file under ``root``."""
    for path in root.rglob("*"):
        if path.is_file():
            assert double.key.encode() not in path.read_bytes(), path


def test_rows_become_a_tuned_model_that_is_compared(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    plan = write_plan(
        tmp_path, double.provider, rows=60, model=QWEN if double.provider == "together" else "",
        data={"files": {"train": "rows.jsonl"}, "split": {"validation": 0.1, "test": 0.1}},
        **EVALUATED,
    )  # fmt: skip
    folder = start(plan, home, command=ok)
    with list_arguments() as arguments:
        result = require_finished(double, folder)
    assert arguments and not any(double.key in each for each in arguments)
    if double.provider != "foundry":  # there it must be deployed first
        assert read_target(folder).n > 0
    assert (folder.path / "card.md").read_text().count(result["remote"]["job_id"])
    for word in ("status", "show", "card", "diagnose", "watch", "eval"):
        done = run_here(word, folder.id)
        assert double.key not in done.stdout + done.stderr
    require_no_key(double, home)
    require_light_status(folder)


def require_light_status(folder: JobFolder) -> None:
    """Assert that ``status`` loads neither an SDK nor torch."""
    command = [sys.executable, "-X", "importtime", "-m", "ftwizard", "status", folder.id]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ftwizard.runs.hosted" in modules
    assert modules.isdisjoint(
        {"openai", "together", "boto3", "torch", "httpx", "httpx2", "textual"}
    )


@contextlib.contextmanager
def list_arguments() -> Iterator[list[str]]:
    """Collect the arguments of all processes until the block ends."""
    script = (
        "import pathlib, time\n"
        "while True:\n"
        "    for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "        try: print(path.read_bytes().replace(b'\\0', b' '))\n"
        "        except OSError: pass\n"
        "    time.sleep(0.5)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    arguments: list[str] = []
    try:
        yield arguments
    finally:
        process.terminate()
        arguments += process.communicate()[0].splitlines()


@pytest.mark.parametrize(
    ("double", "form"),
    [("openai", "csv"), ("together", "alpaca"), ("bedrock", "csv"), ("vertex", "alpaca")],
    indirect=["double"],
)
def test_rows_of_another_form_are_converted(
    double: HostedDouble, tmp_path: Path, home: Path, form: str
) -> None:
    plan = write_plan(tmp_path, double.provider)
    rows = [json.loads(line)["messages"] for line in (TICKETS / "train.jsonl").open()][:40]
    pairs = [(row[-2]["content"], row[-1]["content"]) for row in rows]
    path = tmp_path / ("rows.csv" if form == "csv" else "alpaca.json")
    if form == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("prompt", "completion"), *pairs])
    else:
        path.write_text(
            json.dumps([{"instruction": a, "input": "", "output": b} for a, b in pairs])
        )
    plan.write_text(plan.read_text().replace("rows.jsonl", path.name))
    folder = start(plan, home)
    require_finished(double, folder)
    sent = (folder.path / "upload" / "train.jsonl").read_text("utf-8-sig").splitlines()
    row = json.loads(sent[0])
    assert row.get("messages", row.get("contents"))[-1]["role"] in ("assistant", "model")


def test_a_follower_killed_at_each_call_makes_one_job(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    """One run is killed again and again, each time in its next call, before or after it took effect.

    Its keeper starts it again, but gives up after a few times.
    """
    split: dict[str, Any] = {"validation": 0.1, "test": 0.1}
    plan = write_plan(
        tmp_path, double.provider, rows=60,
        data={"files": {"train": "rows.jsonl"}, "split": split}, **EVALUATED,
    )  # fmt: skip
    folder: JobFolder | None = None
    pid = 0

    def is_another(status: Status) -> bool:
        return folder is not None and command_pid(folder) != pid

    for number, (call, trouble) in enumerate(KILLS[double.provider]):
        double.disturb(call, trouble)  # type: ignore[arg-type]
        if folder is None:
            folder = start(plan, home)
        elif number % STARTS == 0:
            resume_given_up(folder)
        else:
            until(folder, is_another)
        double.wait_for_held()
        pid = command_pid(folder)
        os.kill(pid, signal.SIGKILL)
        double.release()
    assert folder is not None
    kills = len(KILLS[double.provider])
    if kills % STARTS == 0:
        resume_given_up(folder)
    assert require_finished(double, folder)["attempt"] == 1 + kills // STARTS
    restarts = [e for e in events(folder, "finding") if e["code"] == "restarted"]
    assert len(restarts) == kills - kills // STARTS
    ids = [event["id"] for kind in ("remote", "log") for event in events(folder, kind)]
    assert len(ids) == len(set(ids))
    record = remote.read(folder)
    assert record and len(double.list_files()) == len(record.files)
    require_no_key(double, home)


def resume_given_up(folder: JobFolder) -> None:
    status = until_ended(folder)
    assert status.end_reason == "killed" and "started again 3 times" in status.message
    assert f"ftwizard resume {folder.id}" in ok_here("status", folder.id)
    ok_here("resume", folder.id)


@pytest.mark.parametrize("double", ["openai", "together"], indirect=True)
def test_keeper_and_follower_killed_together_at_each_call(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    plan = write_plan(tmp_path, double.provider)
    folder: JobFolder | None = None
    calls = [each for each in KILLS[double.provider] if each[0] != "ask"]
    for call, trouble in calls:
        double.disturb(call, trouble)  # type: ignore[arg-type]
        if folder is None:
            folder = start(plan, home, command=ok)
        else:
            ok("resume", folder.id)
        double.wait_for_held()
        os.kill(keeper_pid(folder), signal.SIGKILL)
        os.kill(command_pid(folder), signal.SIGKILL)
        double.release()
    assert folder is not None
    assert until_ended(folder).end_reason == "lost"
    ok("resume", folder.id)
    assert require_finished(double, folder)["attempt"] == 1 + len(calls)


@pytest.mark.parametrize("double", ["openai", "together"], indirect=True)
def test_a_killed_follower_is_started_again(
    double: HostedDouble, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "RESTART_POLLS", (60,))  # long enough to look at the wait
    double.take_longer()
    folder = start(write_plan(tmp_path, double.provider), home)
    wait_until_running(folder)
    os.kill(command_pid(folder), signal.SIGKILL)
    until(folder, lambda status: status.state == "starting")
    shown = ok_here("status", folder.id)
    assert "! starting again" in shown and "is started again soon" in shown
    assert "already (attempt 1)" in ok_here("resume", folder.id)
    double.go_on()
    assert require_finished(double, folder)["attempt"] == 1


@pytest.mark.parametrize("double", ["openai"], indirect=True)
def test_the_terminal_that_started_it_may_go(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    plan = write_plan(tmp_path)
    double.take_longer()
    terminal = subprocess.Popen(
        [str(FTWIZARD), "train", str(plan), "--yes", "--name", "one", "--watch"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    folder = get_folder(home, "one")
    wait_until_running(folder)
    os.killpg(terminal.pid, signal.SIGHUP)
    terminal.wait()
    double.go_on()
    require_finished(double, folder)


def wait_until_running(folder: JobFolder) -> None:
    end = time.monotonic() + 60
    while (record := remote.read(folder)) is None or record.state != "running":
        assert time.monotonic() < end, record
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("double", "killed"),
    [
        *itertools.product(("openai", "together"), ("", "follower", "both")),
        *itertools.product(("bedrock", "vertex"), ("",)),
    ],
    indirect=["double"],
)
def test_stop_asks_whether_the_job_or_only_its_follower_ends(
    double: HostedDouble, tmp_path: Path, home: Path, killed: str
) -> None:
    double.take_longer()
    folder = start(write_plan(tmp_path, double.provider), home, command=ok)
    wait_until_running(folder)
    if killed == "both":
        os.kill(keeper_pid(folder), signal.SIGKILL)
    if killed:
        os.kill(command_pid(folder), signal.SIGKILL)
    if killed == "follower":  # a command that dies while it stops would be a killed one
        until(folder, lambda _: any(e["code"] == "restarted" for e in events(folder, "finding")))
    undecided = run_here("stop", folder.id)
    assert undecided.returncode == 2
    assert "--cancel" in undecided.stderr and "--detach" in undecided.stderr
    ok_here("stop", folder.id, "--detach")
    assert until_ended(folder).end_reason == ("lost" if killed == "both" else "stopped")
    assert double.list_jobs()[0]["status"] not in ("cancelled", "cancel_requested")
    ok_here("stop", folder.id, "--cancel")
    assert until_ended(folder).end_reason == "cancelled"
    assert [job["status"] for job in double.list_jobs()] == ["cancelled"]
    job, record = as_json_here("status", folder.id)["remote"], remote.read(folder)
    assert record and record.state == "cancelled" and job["status"] == record.status
    ok_here("stop", folder.id, "--cancel")


@pytest.mark.parametrize("double", ["openai"], indirect=True)
def test_a_job_is_paused_and_resumed(double: HostedDouble, tmp_path: Path, home: Path) -> None:
    double.take_longer()
    folder = start(write_plan(tmp_path), home)
    wait_until_running(folder)
    ok("stop", folder.id, "--pause")
    record = remote.read(folder)
    assert record and record.state == "paused"
    ok("resume", folder.id)
    double.go_on()
    require_finished(double, folder)


@pytest.mark.parametrize("double", ["openai", "together"], indirect=True)
def test_a_job_from_elsewhere_is_adopted_once(
    double: HostedDouble, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "other"))
    double.take_longer()
    first = start(write_plan(tmp_path, double.provider), tmp_path / "other")
    wait_until_running(first)
    ok_here("stop", first.id, "--detach")
    monkeypatch.setenv("FTWIZARD_HOME", str(home))
    double.go_on()
    (job,) = double.list_jobs()
    run_here("watch", job["id"], "--provider", double.provider)
    run_here("watch", job["id"], "--provider", double.provider)
    (folder,) = [JobFolder(path) for path in (home / "runs").iterdir() if path.is_dir()]
    assert until_ended(folder).end_reason == "finished"
    status = as_json_here("status", folder.id)["remote"]
    assert status["job_id"] == job["id"] and status["model"]
    assert len(double.list_jobs()) == 1
    unknown = run_here("watch", "ftjob-none", "--provider", double.provider)
    assert unknown.returncode == 1 and unknown.stdout == ""


@pytest.mark.parametrize("double", ["openai", "together"], indirect=True)
def test_a_job_that_fails_at_the_platform_has_failed(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    failure = {"end": "error"} if double.provider == "together" else {"failure": UNSAFE_MODEL}
    double.change(**failure)
    done = run("train", write_plan(tmp_path, double.provider), "--yes", "--watch")
    (folder,) = (JobFolder(path) for path in (home / "runs").iterdir() if path.is_dir())
    assert done.returncode == 1 and f"Run {folder.id} failed" in done.stdout + done.stderr
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code) == ("failed", 1)
    assert "The job failed at" in status.message and status.hint
    assert as_json_here("status", folder.id)["end_reason"] == "failed"
    assert [each["end_reason"] for each in as_json_here("runs")["runs"]] == ["failed"]
    shown = ok_here("status", folder.id)
    assert "✗ failed" in shown and status.hint.split()[0] in shown
    resumed = run_here("resume", folder.id)
    assert resumed.returncode == 1 and "nothing to resume" in resumed.stderr
    assert len(double.list_jobs()) == 1 and not folder.result.exists()


@pytest.mark.parametrize("double", ["openai"], indirect=True)
def test_secrets_leave_only_where_they_are_allowed(
    double: HostedDouble, tmp_path: Path, home: Path
) -> None:
    plan = write_plan(tmp_path)
    rows = tmp_path / "rows.jsonl"
    secret = "gh" + "p_k4eNC0GOH5GWzL6CLT6GTMOUVnLeux70Bffo"
    first, *others = rows.read_text().splitlines()
    message = json.loads(first)
    message["messages"][-1]["content"] += f" The token is {secret}."
    rows.write_text("\n".join([json.dumps(message), *others]) + "\n")
    refused = run_here("train", plan, "--yes")
    assert refused.returncode == 3 and "--allow secrets" in refused.stderr
    assert secret not in refused.stderr and double.list_files() == []
    assert not any((home / "runs").iterdir())
    require_finished(double, start(plan, home, "--allow", "secrets"))
