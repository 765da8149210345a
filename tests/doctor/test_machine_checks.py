"""Doctor on disks, limits, logins, containers and clusters, as files of a made-up machine."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard import background
from ftwizard.doctor import limits, process_survival, storage
from ftwizard.doctor.check import Check
from ftwizard.doctor.process_survival import ProcessInfo
from ftwizard.doctor.storage import Location, Mount
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.jobs import lock

GB = 10**9


def facts(*gpus: Gpu) -> MachineInfo:
    return MachineInfo(
        gpus=gpus, no_gpu=None if gpus else "none", memory=64 * GB, cores=8, bfloat16_cpu=True,
        disk_free=10**12, credentials=(), extras=(),
    )  # fmt: skip


def write(root: Path, name: str, text: str = "") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# ------------------------------------------------------------------------------ waiting


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        background.call_or_none(0.05, time.sleep, 3)
    assert time.monotonic() - began < 2
    assert background.call_or_none(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        background.call_or_none(5, lambda: 1 // 0)


# -------------------------------------------------------------------------------- disks

EXT4 = Mount(point="/", kind="ext4", read_only=False)


def place(**changed: Any) -> Location:
    usual: dict[str, Any] = {
        "path": Path("/x"), "mount": EXT4, "free": 10**12, "inodes": 10**6, "can_write": True,
    }  # fmt: skip
    return Location(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({}, "ok", "ext4 at /"),
        ({"free": GB}, "warning", "Free disk space"),
        ({"inodes": 12}, "warning", "inodes"),
        ({"inodes": None, "mount": Mount(point="/", kind="btrfs", read_only=False)}, "ok", "btrfs"),
        ({"can_write": False}, "missing", "not writable"),
        ({"mount": Mount(point="/", kind="ext4", read_only=True)}, "missing", "read-only"),
        ({"mount": Mount(point="/", kind="nfs4", read_only=False)}, "warning", "over the network"),
        ({"mount": Mount(point="/", kind="tmpfs", read_only=False)}, "warning", "reboot"),
        ({"mount": Mount(point="/", kind="overlay", read_only=False)}, "warning", "a volume"),
        ({"mount": None}, "ok", "free at /x"),
        ({"locks": False}, "missing", "file locks do not work"),
    ],
)
def test_what_a_place_is_like(changed: dict[str, Any], status: str, says: str) -> None:
    found = storage.assess_location("disk: runs", place(**changed), "FTWIZARD_HOME", 10 * GB)
    assert found.status == status and says in found.detail + found.fix
    assert ("FTWIZARD_HOME" in found.fix) == (status != "ok")


def test_temporary_files_may_be_in_memory() -> None:
    found = storage.assess_location("disk: temp", place(mount=Mount(
        point="/tmp", kind="tmpfs", read_only=False)), "TMPDIR", GB)  # fmt: skip
    assert found.status == "ok"


def test_a_file_server_that_does_not_answer_and_a_broken_disk() -> None:
    def hang(_: Path) -> Location:
        time.sleep(3)
        raise AssertionError

    def fail(_: Path) -> Location:
        raise OSError(5, "Input/output error")

    for see, says in ((hang, "no answer within"), (fail, "Input/output error")):
        found = storage.check_location(
            "disk: runs", Path("/x"), "V", 1, inspect=see, timeout_s=0.05
        )
        assert found.status == "missing" and says in found.detail and "V" in found.fix


def test_the_mount_of_a_folder(tmp_path: Path) -> None:
    deep = tmp_path / "a b" / "c"
    deep.mkdir(parents=True)
    escaped = str(tmp_path / "a b").replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"23 22 0:4 / {escaped} rw,relatime - nfs4 server:/x rw\n"
        f"24 23 0:5 / {escaped} ro,relatime - tmpfs none rw\n"
        f"25 22 0:6 / {escaped}x rw - xfs /dev/sdb rw\n"
        "torn line\n"
    )
    found = storage.find_mount(deep, mounts)
    assert found == Mount(point=str(tmp_path / "a b"), kind="tmpfs", read_only=True)
    above = storage.find_mount(tmp_path, mounts)
    assert above is not None and above.kind == "ext4"
    assert storage.find_mount(deep, tmp_path / "none") is None


def test_a_real_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = storage.inspect_location(tmp_path / "not" / "yet")
    assert found.path == tmp_path and found.free > 0 and found.can_write and found.locks
    assert list(tmp_path.iterdir()) == []


def test_locks_that_nobody_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "is_held", lambda _: False)
    assert storage.do_locks_work(tmp_path) is False

    def refuse(_: Path) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "take_exclusive", refuse)
    assert storage.do_locks_work(tmp_path) is False
    assert storage.do_locks_work(tmp_path / "none") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "lustre", "fuse.sshfs", "fuse.gcsfuse"])
def test_file_systems_of_other_machines(kind: str) -> None:
    assert storage.is_network(kind)
    assert not storage.is_network("ext4") and not storage.is_network("fuse.ntfs-3g")


def test_shared_memory_matters_to_several_gpus(tmp_path: Path) -> None:
    small = 1 << 62
    (found,) = storage.check_shared_memory(2, tmp_path, small)
    assert found.status == "warning" and "--shm-size" in found.fix
    (found,) = storage.check_shared_memory(1, tmp_path, small)
    assert found.status == "ok"
    assert list(storage.check_shared_memory(2, tmp_path, 0)) == []
    assert list(storage.check_shared_memory(2, tmp_path / "none")) == []


# ------------------------------------------------------------------------------- limits


def test_memory_that_the_cgroup_does_not_give() -> None:
    assert limits.check_memory(64 * GB, 60 * GB, None).status == "ok"
    enough = limits.check_memory(64 * GB, 60 * GB, 32 * GB)
    assert enough.status == "ok" and "32.0 GB for this process" in enough.detail
    little = limits.check_memory(64 * GB, 60 * GB, 4 * GB)
    assert little.status == "warning" and "--memory" in little.fix
    assert limits.check_memory(4 * GB, 3 * GB, None).status == "warning"
    assert "Other programs" in limits.check_memory(64 * GB, GB, None).fix
    assert "cgroup" not in limits.check_memory(64 * GB, 60 * GB, 1 << 50).detail


def test_cgroups_of_the_second_version(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/user.slice/a.scope\n")
    assert limits.read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n")
    assert limits.read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/user.slice/memory.max", "8000\n")
    assert limits.read_memory_limit(tmp_path) == 8000  # of the one above
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/memory.max", "9000\n")
    assert limits.read_memory_limit(tmp_path) == 8000
    write(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/a.scope/cpu.max", "max 100000\n")
    assert limits.read_cpu_quota(tmp_path) == 1.5


def test_cgroups_of_the_first_version_seen_from_a_container(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "4000\n")
    assert limits.read_memory_limit(tmp_path) == 4000
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert limits.read_cpu_quota(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    assert limits.read_cpu_quota(tmp_path) == 2
    assert limits.read_memory_limit(tmp_path / "none") is None


def test_a_quota_below_the_cores_starts_too_many_threads() -> None:
    assert limits.check_cpu(facts(), None).status == "ok"
    assert limits.check_cpu(facts(), 8.0).status == "ok"
    assert "OMP_NUM_THREADS=2" in limits.check_cpu(facts(), 2.0).fix


def test_limits_that_end_a_run() -> None:
    assert list(limits.check_ulimits({"RLIMIT_NOFILE": 1024, "RLIMIT_AS": None})) == []
    low = {"RLIMIT_NOFILE": 256, "RLIMIT_AS": GB, "RLIMIT_CPU": 3600, "RLIMIT_FSIZE": GB}
    found = {one.name: one for one in limits.check_ulimits(low)}
    assert found["ulimit: open files"].fix == "ulimit -n 65536"
    assert "CUDA" in found["ulimit: address space"].detail
    assert "3,600 s" in found["ulimit: CPU time"].detail
    assert "1.0 GB" in found["ulimit: file size"].detail


# ------------------------------------------------------------------------------- logins

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n"


def login(root: Path, cgroup: str = SESSION, user: str = "ann") -> list[Check]:
    (root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    write(root, "proc/self/cgroup", cgroup)
    return list(process_survival.check_logins(root, user=user, ask=False))


def test_logind_that_takes_runs_along(tmp_path: Path) -> None:
    assert login(tmp_path) == []
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\n")
    assert login(tmp_path) == []
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses = yes\n")
    (found,) = login(tmp_path)
    assert "/etc/systemd/logind.conf" in found.detail
    assert found.fix.startswith("loginctl enable-linger ann, then start runs with: systemd-run")
    write(tmp_path, "var/lib/systemd/linger/ann")
    assert login(tmp_path)[0].fix.startswith("start runs with: systemd-run --user --scope")


def test_drop_ins_have_the_last_word(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=no\n")
    write(tmp_path, "usr/lib/systemd/logind.conf.d/50-x.conf", "[Login]\nKillUserProcesses=1\n")
    assert "50-x.conf" in login(tmp_path)[0].detail
    # A file of the same name in /etc takes the place of the distribution's.
    write(tmp_path, "etc/systemd/logind.conf.d/50-x.conf", "[Login]\n")
    assert login(tmp_path) == []
    write(tmp_path, "etc/systemd/logind.conf.d/10-a.conf", "[Login]\nKillUserProcesses=yes\n")
    write(tmp_path, "etc/systemd/logind.conf.d/90-z.conf", "[Login]\nKillUserProcesses=off\n")
    assert login(tmp_path) == []
    write(tmp_path, "etc/systemd/logind.conf.d/91-z.conf", "KillUserProcesses=yes\n[Other]\n")
    assert login(tmp_path) == []  # outside its section, and no such file at all to logind


def test_users_that_are_spared(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    assert login(tmp_path, user="root") == []
    write(
        tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\nKillOnlyUsers=bob\n"
    )
    assert login(tmp_path) == [] and len(login(tmp_path, user="bob")) == 1


def test_what_belongs_to_the_user_manager_ends_with_the_last_logout(tmp_path: Path) -> None:
    (found,) = login(tmp_path, MANAGER)
    assert found.fix == "loginctl enable-linger ann" and "last logout" in found.detail
    write(tmp_path, "var/lib/systemd/linger/ann")
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    assert login(tmp_path, MANAGER) == []


def test_without_systemd_or_outside_a_session_logind_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    assert login(tmp_path, "0::/system.slice/cron.service\n") == []
    write(tmp_path / "other", "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    assert list(process_survival.check_logins(tmp_path / "other", user="ann")) == []


@given(st.text(max_size=200))
def test_no_file_of_logind_breaks_the_doctor(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.mktemp("root")
    write(root, "etc/systemd/logind.conf", text.encode(errors="replace").decode())
    assert process_survival.read_config(root).kills in (None, True, False)


# --------------------------------------------------------------------------- containers


def chain(*names: str, first: int = 1) -> list[ProcessInfo]:
    """Processes from this one up to the container's first."""
    return [
        ProcessInfo(pid=first + len(names) - 1 - at, name=name, state="S", parent=0)
        for at, name in enumerate(names)
    ]


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
def test_a_container_that_ends_with_its_shell(names: tuple[str, ...], ends: bool) -> None:
    assert process_survival.ends_with_shell(chain(*names)) == ends
    assert not process_survival.ends_with_shell(chain(*names, first=40))  # docker exec


def test_a_process_whose_name_has_brackets(tmp_path: Path) -> None:
    write(tmp_path, "proc/1/stat", "1 (a) b (c) S 0 1 1 0 -1")
    assert process_survival.read_process(1, tmp_path) == ProcessInfo(
        pid=1, name="a) b (c", state="S", parent=0
    )
    assert process_survival.read_process(2, tmp_path) is None


def test_ended_programs_that_nobody_takes_in() -> None:
    pid = process_survival.start_orphan()
    assert pid is not None and pid != os.getpid()  # whether it is taken in is the machine's affair
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert process_survival.is_reaped(gone.pid)
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        assert not process_survival.is_reaped(child, wait_s=0.1)  # ours, and we do not wait for it
    finally:
        os.waitpid(child, 0)
    assert process_survival.is_reaped(None)


# ----------------------------------------------------------------------------- clusters


def test_runs_end_with_the_job_of_a_cluster(tmp_path: Path) -> None:
    inside = {"SLURM_JOB_ID": "12\x1b", "SLURM_JOB_END_TIME": "7200"}
    (found,) = process_survival.check_slurm(facts(), inside, now=3600.0)
    assert "1 h 00 min" in found.detail and "\x1b" not in found.detail and "resume" in found.fix
    write(tmp_path, "sbatch")
    (tmp_path / "sbatch").chmod(0o755)
    (found,) = process_survival.check_slurm(facts(), {"PATH": str(tmp_path)})
    assert "login node" in found.detail and "salloc" in found.fix
    assert (
        list(process_survival.check_slurm(facts(Gpu(name="x", memory=1)), {"PATH": str(tmp_path)}))
        == []
    )
    assert list(process_survival.check_slurm(facts(), {"PATH": ""})) == []


def test_the_view_over_ssh(tmp_path: Path) -> None:
    over_ssh = {"SSH_CONNECTION": "1", "PATH": str(tmp_path)}
    (found,) = process_survival.check_multiplexer(over_ssh)
    assert "ftwizard watch" in found.fix
    assert list(process_survival.check_multiplexer({"PATH": str(tmp_path)})) == []
    write(tmp_path, "screen")
    (tmp_path / "screen").chmod(0o755)
    assert list(process_survival.check_multiplexer(over_ssh)) == []


def test_that_nothing_ends_runs_is_said_too(tmp_path: Path) -> None:
    (found,) = process_survival.check_sessions(facts(), {"PATH": ""}, tmp_path)
    assert found.status == "ok" and found.name == "runs"
