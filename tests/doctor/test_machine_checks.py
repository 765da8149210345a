"""Doctor checks of disks, limits, logins, containers and clusters, on fake system files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard import background
from ftwizard.doctor import process_survival, storage, system
from ftwizard.doctor.check import Check
from ftwizard.doctor.storage import Location
from ftwizard.hardware.machine import Gpu, MachineInfo
from tests.helpers.machines import make_machine

GB = 10**9


def facts(*gpus: Gpu) -> MachineInfo:
    return make_machine(*gpus, memory=64 * GB, cores=8, disk_free=10**12)


def write(root: Path, name: str, text: str = "") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# ----------------------------------------------------------------------------- timeouts


def test_call_with_timeout_raises_when_the_call_hangs() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        background.call_with_timeout(0.05, time.sleep, 3)
    assert time.monotonic() - began < 2
    assert background.call_with_timeout(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        background.call_with_timeout(5, lambda: 1 // 0)


# -------------------------------------------------------------------------------- disks


def make_location(**changed: Any) -> Location:
    usual: dict[str, Any] = {
        "path": Path("/x"), "kind": "ext4", "free": 10**12, "can_write": True,
    }  # fmt: skip
    return Location(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "status", "text"),
    [
        ({}, "ok", "free at /x (ext4)"),
        ({"free": GB}, "warning", "Free disk space"),
        ({"can_write": False}, "missing", "not writable"),
        ({"kind": "nfs4"}, "warning", "over the network"),
        ({"kind": "overlay"}, "warning", "a volume"),
        ({"kind": ""}, "ok", "free at /x"),
    ],
)
def test_location_check_reports_space_access_and_file_system(
    changed: dict[str, Any], status: str, text: str
) -> None:
    check = storage.assess_location(
        "disk: runs", make_location(**changed), "FTWIZARD_HOME", 10 * GB
    )
    assert check.status == status and text in check.detail + check.fix
    assert ("FTWIZARD_HOME" in check.fix) == (status != "ok")


def test_read_only_model_cache_is_only_a_warning() -> None:
    location = make_location(can_write=False)
    assert storage.assess_location("disk: models", location, "HF_HOME", GB).status == "warning"


def test_hanging_and_failing_disks_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang(_: Path) -> Location:
        time.sleep(3)
        raise AssertionError

    def fail(_: Path) -> Location:
        raise OSError(5, "Input/output error")

    for see, says in ((hang, "no answer within"), (fail, "Input/output error")):
        monkeypatch.setattr(storage, "inspect_location", see)
        check = storage.check_location("disk: runs", Path("/x"), "V", 1, timeout_s=0.05)
        assert check.status == "missing" and says in check.detail and "V" in check.fix


def test_invalid_folder_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "~nosuchuser/x")
    checks = {check.name: check for check in storage.run_checks()}
    assert checks["disk: models"].status == "missing"
    assert "HF_HOME" in checks["disk: models"].detail


def test_missing_folder_is_checked_at_its_nearest_parent(tmp_path: Path) -> None:
    location = storage.inspect_location(tmp_path / "not" / "yet")
    assert location.path == tmp_path and location.free > 0 and location.can_write
    assert storage.find_file_system(Path("/proc/self")) == "proc"


# ------------------------------------------------------------------------------- limits


def test_memory_check_considers_the_cgroup_limit() -> None:
    assert system.check_memory(64 * GB, 60 * GB, None).status == "ok"
    enough = system.check_memory(64 * GB, 60 * GB, 32 * GB)
    assert enough.status == "ok" and "32.0 GB for this process" in enough.detail
    little = system.check_memory(64 * GB, 60 * GB, 4 * GB)
    assert little.status == "warning" and "--memory" in little.fix
    assert system.check_memory(4 * GB, 3 * GB, None).status == "warning"
    assert "Other programs" in system.check_memory(64 * GB, GB, None).fix
    assert "cgroup" not in system.check_memory(64 * GB, 60 * GB, 1 << 50).detail


def test_cgroup_v2_limits_are_read_at_every_level(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/user.slice/a.scope\n")
    assert system.read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n")
    assert system.read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/user.slice/memory.max", "8000\n")
    assert system.read_memory_limit(tmp_path) == 8000  # from the parent cgroup
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/memory.max", "9000\n")
    assert system.read_memory_limit(tmp_path) == 8000
    write(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/cpu.max", "max 100000\n")
    assert system.read_cpu_quota(tmp_path) == 1.5
    assert system.read_memory_limit(tmp_path / "none") is None


def test_cpu_quota_below_the_core_count_suggests_fewer_threads() -> None:
    assert system.check_cpu(facts(), None).status == "ok"
    assert system.check_cpu(facts(), 8.0).status == "ok"
    assert "OMP_NUM_THREADS=2" in system.check_cpu(facts(), 2.0).fix


# ------------------------------------------------------------------------------- logout

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n"


def check_logout(root: Path, cgroup: str = SESSION, user: str = "ann") -> list[Check]:
    write(root, "proc/self/cgroup", cgroup)
    return list(process_survival.check_logout(root, user=user))


def test_logout_that_kills_processes_suggests_lingering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_survival, "kills_at_logout", lambda: False)
    assert check_logout(tmp_path) == []
    monkeypatch.setattr(process_survival, "kills_at_logout", lambda: True)
    (check,) = check_logout(tmp_path)
    assert check.fix.startswith("loginctl enable-linger ann, then start runs with: systemd-run")
    write(tmp_path, "var/lib/systemd/linger/ann")
    (check,) = check_logout(tmp_path)
    assert check.fix.startswith("start runs with: systemd-run --user --scope")
    assert check_logout(tmp_path, user="root") == []
    assert check_logout(tmp_path, "0::/system.slice/cron.service\n") == []
    assert list(process_survival.check_logout(tmp_path / "none", user="ann")) == []


@pytest.mark.parametrize(
    ("answer", "kills"), [("b true", True), ("b false", False), ("", False), (None, False)]
)
def test_logind_answer_decides_kills_at_logout(
    tmp_path: Path, answer: str | None, kills: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer is not None:
        write(tmp_path, "busctl", f"#!/bin/sh\necho {answer}\n")
        (tmp_path / "busctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process_survival.kills_at_logout() == kills


def test_user_manager_processes_need_lingering(tmp_path: Path) -> None:
    (check,) = check_logout(tmp_path, MANAGER)
    assert check.fix == "loginctl enable-linger ann" and "last logout" in check.detail
    write(tmp_path, "var/lib/systemd/linger/ann")
    assert check_logout(tmp_path, MANAGER) == []


# --------------------------------------------------------------------------- containers


@pytest.mark.parametrize(
    ("names", "ends"),
    [
        (("ftwizard", "bash"), True),
        (("python3.11", "ftwizard", "bash", "tini"), True),
        (("ftwizard",), True),
        (("python3", "bash", "sshd", "tini"), False),
        (("python3", "bash", "tmux: server", "bash"), False),
        (("python3", "bash", "jupyter-lab"), False),
        (("python3", "bash", "systemd"), False),
    ],
)
def test_container_ends_with_its_shell_unless_a_server_runs(
    names: tuple[str, ...], ends: bool
) -> None:
    assert process_survival.ends_with_shell(names) == ends


# ----------------------------------------------------------------------------- clusters


def test_slurm_job_warns_that_runs_end_with_it() -> None:
    (check,) = process_survival.check_slurm({"SLURM_JOB_ID": "12\x1b"})
    assert "job 12" in check.detail and "\x1b" not in check.detail and "resume" in check.fix
    assert list(process_survival.check_slurm({})) == []


def test_surviving_runs_are_reported_as_ok(tmp_path: Path) -> None:
    (check,) = process_survival.run_checks({}, tmp_path)
    assert check.status == "ok" and check.name == "runs"
