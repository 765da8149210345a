"""Jobs: survival of launcher and keeper deaths, single starts, stop requests and end reasons."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import identity, lock, requests, stopping
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder, check_id, write_json
from ftwizard.jobs.launch import AlreadyRunning
from ftwizard.jobs.pace import Pace
from ftwizard.jobs.status import observe, wait_until_free
from ftwizard.jobs.stopping import wait_for_end
from tests.helpers.jobs import (
    command_pid,
    events,
    keeper_pid,
    make,
    start,
    until,
    until_ended,
    until_step,
)
from tests.paths import ROOT
from tests.screens.runs_helpers import living, make_run

LAUNCHER = """
import sys, time
from pathlib import Path
from tests.helpers.jobs import start
from ftwizard.jobs.folder import JobFolder
start(JobFolder(Path(sys.argv[1])))
print("up", flush=True)
time.sleep(60)
"""


def test_job_runs_to_completion(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=20))
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code, status.attempt) == ("finished", 0, 1)
    assert [e["step"] for e in events(folder, "log")] == list(range(1, 21))
    assert not lock.is_held(folder.lock)
    state = folder.read_state()
    assert state and state.state == "ended" and state.returncode == 0


def test_job_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = start(make(tmp_path / "run", steps=20))
    finally:
        os.umask(old)
    until_ended(folder)
    for path in [folder.path, *folder.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_job_survives_a_killed_launcher(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", steps=5000)
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder.path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    assert launcher.stdout and launcher.stdout.readline() == b"up\n"
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    recorded = len(events(folder, "log"))
    until_step(folder, recorded + 10)
    assert observe(folder).state == "running"


ANY_MOMENT = """
import sys
from pathlib import Path
from tests.helpers.jobs import make, start
start(make(Path(sys.argv[1]), steps=5000))
"""


def test_launcher_killed_at_any_moment_leaves_a_startable_job(tmp_path: Path) -> None:
    dice = random.Random(3)
    ends, patience = set(), 1.0
    for number in range(16):
        folder = JobFolder(tmp_path / f"run{number}")
        launcher = subprocess.Popen(
            [sys.executable, "-c", ANY_MOMENT, str(folder.path)], cwd=ROOT, start_new_session=True
        )
        time.sleep(patience * dice.uniform(0.03, 0.25))
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
        if not folder.job.exists():
            ends.add("not begun")
            if not folder.path.exists():
                patience *= 1.5  # a busy machine needs longer to get this far
                continue
            make(folder.path, steps=5000)
            start(folder)
        status = until(folder, lambda s: s.state in ("running", "ended"))
        if status.state == "ended":
            ends.add("lost")
            assert status.end_reason == "lost"
            start(folder)
        ends.add("running")
        until_step(folder, 1)
        os.kill(keeper_pid(folder), signal.SIGKILL)
        os.kill(command_pid(folder), signal.SIGKILL)
        assert wait_until_free(folder, 5)
    assert "running" in ends and len(ends) > 1, f"all kills hit the same phase: {ends}"


def test_job_survives_a_closed_terminal(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", steps=5000)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", LAUNCHER, str(folder.path)])
    until(folder, lambda s: s.state == "running")
    os.close(terminal)  # the kernel hangs up on the session
    os.waitpid(pid, 0)
    until_step(folder, len(events(folder, "log")) + 10)
    assert observe(folder).state == "running"
    for process in (command_pid(folder), keeper_pid(folder)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        assert fields[4] == "0", "it has no controlling terminal"


def test_second_start_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    before = {p: p.read_bytes() for p in (folder.job, folder.attempt(1))}
    with pytest.raises(AlreadyRunning):
        start(folder)
    with pytest.raises(AlreadyRunning):
        make(folder.path, steps=1)
    assert before == {p: p.read_bytes() for p in before}
    assert folder.newest_attempt() == 1


def test_only_one_of_six_concurrent_starts_wins(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", steps=5000)

    def start_one(_: int) -> bool:
        try:
            start(folder)
        except AlreadyRunning:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        wins = sum(pool.map(start_one, range(6)))
    assert wins == 1
    assert folder.newest_attempt() == 1
    until_step(folder, 5)
    steps = [e["step"] for e in events(folder, "log")]
    assert steps == sorted(set(steps)), "only one process writes events"


CLAIMER = """
import sys
from pathlib import Path
from ftwizard.jobs.launch import claim
for _ in range(20):
    print(claim(Path(sys.argv[1]), lambda name: name == "run-3").name)
"""


def test_processes_that_claim_one_name_at_once_get_their_own(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    command = [sys.executable, "-c", CLAIMER, str(root / "run")]
    claimers = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(4)]
    names = [name for item in claimers for name in item.communicate()[0].decode().split()]
    expected = ["run", "run-2", *(f"run-{number}" for number in range(4, 82))]
    assert sorted(names) == sorted(expected) == sorted(path.name for path in root.iterdir())


def test_start_is_refused_while_the_command_outlives_its_keeper(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    command = command_pid(folder)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    with pytest.raises(AlreadyRunning):
        start(folder)
    os.kill(command, signal.SIGKILL)
    assert wait_until_free(folder, 5)
    status = observe(folder)
    assert (status.state, status.end_reason) == ("ended", "lost")
    start(folder)
    assert observe(folder).attempt == 2


def test_killed_command_ends_as_killed_and_can_resume(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=60, step_s=0.1))
    until_step(folder, 25)
    os.kill(command_pid(folder), signal.SIGKILL)
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code) == ("killed", 1)
    start(folder)
    assert until_ended(folder).end_reason == "finished"
    steps = {e["step"] for e in events(folder, "log")}
    assert steps == set(range(1, 61))
    resumed = [e["step"] for e in events(folder, "log") if e["attempt"] == 2]
    assert 21 <= resumed[0] <= 31 and (resumed[0] - 1) % 10 == 0


def test_command_keeps_running_without_its_keeper(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    until_step(folder, 3)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    until(folder, lambda s: s.keeper_lives is False)
    recorded = len(events(folder, "log"))
    until_step(folder, recorded + 10)
    assert observe(folder).state == "running"
    requests.send(folder, "stop", 1)
    assert wait_for_end(folder, 1, report=print)
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code) == ("stopped", 1)


@pytest.mark.slow
def test_deaf_command_without_a_keeper_is_killed(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000, mode="deaf"))
    until_step(folder, 3)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    write_json(folder.pace, Pace(attempt=1, stop_s=0.5))
    requests.send(folder, "stop", 1)
    assert wait_for_end(folder, 1, report=print)
    status = observe(folder)
    assert (status.state, status.end_reason) == ("ended", "killed")


def test_stop_request_saves_a_checkpoint_first(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    until_step(folder, 13)
    requests.send(folder, "stop", 1)
    status = until_ended(folder)
    assert status.end_reason == "stopped"
    assert events(folder, "checkpoint")[-1]["step"] == events(folder, "log")[-1]["step"]
    assert not list(folder.requests.iterdir())


def test_sigterm_saves_a_checkpoint_first(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    until_step(folder, 13)
    os.kill(command_pid(folder), signal.SIGTERM)
    assert until_ended(folder).end_reason == "stopped"
    assert events(folder, "checkpoint")[-1]["step"] == events(folder, "log")[-1]["step"]


def test_sigterm_to_the_keeper_saves_a_checkpoint_first(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    until_step(folder, 13)
    os.kill(keeper_pid(folder), signal.SIGTERM)
    assert until_ended(folder).end_reason == "stopped"
    last = events(folder, "log")[-1]["step"]
    assert events(folder, "checkpoint")[-1]["step"] == last
    assert json.loads((folder.path / "counter.json").read_text())["step"] == last


def test_stop_request_for_another_attempt_is_ignored(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=40))
    requests.send(folder, "stop", 7)
    assert until_ended(folder).end_reason == "finished"


@pytest.mark.slow
def test_hung_command_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000, mode="hang"))
    until_step(folder, 5)
    asked = time.monotonic()
    write_json(folder.pace, Pace(attempt=1, stop_s=1))
    requests.send(folder, "stop", 1)
    until(folder, lambda s: s.state == "stopping")
    status = until_ended(folder, 30)
    assert status.end_reason == "killed"
    assert time.monotonic() - asked >= 1


@pytest.mark.slow
def test_kill_request_skips_the_grace_period(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000, mode="deaf"))
    until_step(folder, 3)
    write_json(folder.pace, Pace(attempt=1, stop_s=300))
    requests.send(folder, "stop", 1)
    until(folder, lambda s: s.state == "stopping")
    requests.send(folder, "kill", 1)
    assert until_ended(folder, 30).end_reason == "killed"


def test_leftover_child_processes_are_killed_and_counted_as_orphans(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5, mode="children"))
    assert until_ended(folder).end_reason == "finished"
    until(folder, lambda _: (s := folder.read_state()) is not None and s.state == "ended")
    state = folder.read_state()
    assert state and state.orphans == 3
    (children,) = events(folder, "children")
    assert len(children["pids"]) == 3
    assert [identity.from_pid(pid) for pid in children["pids"]] == [None] * 3


@pytest.mark.parametrize(
    ("mode", "reason", "code"),
    [
        ("crash", "crashed", 1),
        ("refuse", "refused", 3),
        ("gpu", "out_of_gpu_memory", 1),
        ("hard", "crashed", 1),
    ],
)
def test_failures_map_to_end_reasons_and_exit_codes(
    tmp_path: Path, mode: str, reason: str, code: int
) -> None:
    status = until_ended(start(make(tmp_path / "run", mode=mode)))
    assert (status.end_reason, status.exit_code) == (reason, code)


def test_refusal_has_a_message_and_hint_without_traceback(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", mode="refuse"))
    status = until_ended(folder)
    assert (status.message, status.hint) == ("It trains on nothing.", "Give it answers.")
    assert "Traceback" not in folder.log.read_text()


def test_keeper_updates_the_heartbeat(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    first = folder.heartbeat.stat().st_mtime_ns
    until(folder, lambda _: folder.heartbeat.stat().st_mtime_ns > first)


def test_keeper_samples_the_machine(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    path = folder.machine(os.uname().nodename)
    until(folder, lambda _: path.exists() and path.stat().st_size > 0)
    sample = json.loads(path.read_text().splitlines()[0])
    assert sample["memory_total"] > sample["memory_used"] > 0
    assert sample["gpus"] or sample["no_gpu"]


def test_recycled_pid_is_not_mistaken_for_the_command(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=5000))
    state = folder.read_state()
    assert state and state.command
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    impostor = msgspec.structs.replace(state.command, pid=stranger.pid)
    assert identity.is_alive(impostor) is False
    assert not identity.signal_group(impostor, signal.SIGKILL)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_recycled_pids_are_not_alive_and_never_signaled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeper and command are gone, other processes have their pids, a leftover holds the lock."""
    monkeypatch.setattr(stopping, "TERM_GRACE_S", 0.1)
    monkeypatch.setattr(stopping, "SLACK_S", 0.1)
    folder = make_run(home, "one")
    folder.events.unlink()
    strangers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    dead = [identity.from_pid(stranger.pid) for stranger in strangers]
    keeper, command = (
        msgspec.structs.replace(item, start_ticks=item.start_ticks - 1) for item in dead if item
    )
    with living(folder, keeper=keeper, command=command):
        result = observe(folder)
        assert (result.state, result.end_reason, result.keeper_lives) == ("ended", "lost", False)
        write_json(folder.pace, Pace(attempt=1, stop_s=0.1))
        assert wait_for_end(folder, 1, report=print)
        assert lock.is_held(folder.lock), "the leftover process is not identified"
    assert [stranger.poll() for stranger in strangers] == [None, None]
    assert observe(folder).end_reason == "lost"
    for stranger in strangers:
        stranger.kill()
        stranger.wait()


def test_liveness_is_unknown_from_another_host_or_container(tmp_path: Path) -> None:
    me = identity.from_pid(os.getpid())
    assert me and identity.is_alive(me) is True
    assert identity.is_alive(msgspec.structs.replace(me, host="elsewhere")) is None
    assert identity.is_alive(msgspec.structs.replace(me, pid_namespace=1)) is None
    assert identity.is_alive(msgspec.structs.replace(me, boot_id="older")) is False


def test_job_interrupted_by_a_reboot_ends_as_lost_and_resumes(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=60, step_s=0.1))
    until_step(folder, 13)
    state = folder.read_state()
    assert state and state.keeper and state.command
    for process in (state.keeper, state.command):
        assert identity.signal_group(process, signal.SIGKILL)
    assert wait_until_free(folder, 5)
    # After the reboot, other processes have the same pids and start times.
    strangers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    earlier = {}
    for role, stranger in zip(("keeper", "command"), strangers, strict=True):
        namesake = identity.from_pid(stranger.pid)
        assert namesake
        earlier[role] = msgspec.structs.replace(namesake, boot_id="earlier")
    write_json(folder.state, msgspec.structs.replace(state, **earlier))
    result = observe(folder)
    assert (result.state, result.end_reason, result.keeper_lives) == ("ended", "lost", False)
    assert wait_for_end(folder, 1, report=print)
    assert [stranger.poll() for stranger in strangers] == [None, None]
    start(folder)
    assert until_ended(folder).end_reason == "finished"
    resumed = [e["step"] for e in events(folder, "log") if e["attempt"] == 2]
    assert resumed[0] >= 11 and (resumed[0] - 1) % 10 == 0 and resumed[-1] == 60
    for stranger in strangers:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "-rf", "a/b", "a\n", "", "é", "x" * 65, "a b", "$(id)", "a;b", "\x1b"]
)
def test_unsafe_run_names_are_refused(name: str) -> None:
    with pytest.raises(FtwizardError) as refusal:
        check_id(name)
    assert refusal.value.exit_code == 2
    assert "\x1b" not in refusal.value.message and "\n" not in refusal.value.message


def test_existing_job_folder_is_not_overwritten(tmp_path: Path) -> None:
    folder = start(make(tmp_path / "run", steps=3))
    until_ended(folder)
    wait_until_free(folder, 5)
    with pytest.raises(FtwizardError, match="already"):
        make(folder.path, steps=9)
    assert JobFolder(folder.path).read_job().inputs["steps"] == 3


def test_job_ends_when_its_folder_is_deleted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(home.parent / "cache"))
    folder = start(make(home / "runs" / "gone", steps=5000, mode="hang"))
    until_step(folder, 5)
    processes = [identity.from_pid(keeper_pid(folder)), identity.from_pid(command_pid(folder))]
    while folder.path.exists():  # the keeper may still write into it
        shutil.rmtree(folder.path, ignore_errors=True)
    end = time.monotonic() + 20
    while any(process and identity.is_alive(process) for process in processes):
        assert time.monotonic() < end, "the job keeps running"
        time.sleep(0.1)
    assert not folder.path.exists()


def test_hung_command_is_reported_once_with_its_stack(home: Path) -> None:
    folder = start(make(home / "runs" / "hung", mode="hang", silent_s=1.0))

    def read_events() -> list[Event]:
        return [event for event in events(folder, "finding") if event["code"] == "stalled"]

    until(folder, lambda _: bool(read_events()), 30)
    (finding,) = read_events()
    assert finding["severity"] == "warning" and "no progress for" in finding["message"]
    assert finding["stack"][0].startswith("work (") and "dummy_worker.py" in finding["stack"][0]
    time.sleep(2.5)
    assert len(read_events()) == 1, "the finding is reported once"


def test_only_paused_commands_are_reported_as_stalled(home: Path) -> None:
    slow = start(make(home / "runs" / "slow", steps=8, step_s=0.4, silent_s=3.0))
    paused = start(
        make(home / "runs" / "paused", mode="pause", steps=60, step_s=0.05, silent_s=2.0)
    )
    assert until_ended(slow).end_reason == until_ended(paused).end_reason == "finished"
    assert events(slow, "finding") == []
    assert [event["code"] for event in events(paused, "finding")] == ["stalled", "goes_on"]
