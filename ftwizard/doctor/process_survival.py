"""Container checks: whether it ends with this shell, and whether its init reaps orphans."""

from __future__ import annotations

import configparser
import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, ok, warning
from ftwizard.hardware.machine import MachineInfo
from ftwizard.text import format_duration, make_visible

MINI_INITS = {"tini", "docker-init", "dumb-init", "catatonit", "podman-init"}
"""Init processes that end together with their one program."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox", "su", "sudo", "env",
          "python", "python3", "ftwizard", "uv", "timeout", "script"}  # fmt: skip
"""Shells, and programs between a shell and this program."""
ORPHAN_S = 0.05
WAIT_S = 1.5
"""An init reaps orphans at once, or polls now and then."""


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A process as /proc shows it."""

    pid: int
    name: str
    state: str
    parent: int


def check_containers(root: Path = Path("/")) -> Iterator[Check]:
    """Warn if a run would end with the container, or stay in it as a zombie."""
    first = read_process(1, root)
    if first is None or not is_container(root):
        return
    chain = list_ancestors(os.getpid() if root == Path("/") else 0, root)
    if ends_with_shell(chain):
        yield warning(
            "container",
            f"ends with this shell ({make_visible(first.name, 20)} is its first process), and so does every "
            "run",
            "Start it with: docker run -d --init IMAGE sleep infinity   then: docker exec -it … bash",
        )
    if root == Path("/") and not is_reaped(start_orphan()):
        yield warning(
            "container: init",
            f"its first process ({make_visible(first.name, 20)}) does not reap ended programs: they stay "
            "as zombies",
            "docker run --init …   (Kubernetes: shareProcessNamespace: true)",
        )


def is_container(root: Path = Path("/")) -> bool:
    """Return whether this is a container, by the markers of docker, podman and systemd."""
    marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
    return any((root / mark).exists() for mark in marks) or (
        root == Path("/") and bool({"container", "KUBERNETES_SERVICE_HOST"} & set(os.environ))
    )


def ends_with_shell(chain: list[ProcessInfo]) -> bool:
    """Return whether the container ends when this shell does.

    It does if its first process is a shell with only shells between it and this program. A server
    in between (sshd, tmux, jupyter) keeps running.
    """
    if not chain or chain[-1].pid != 1:
        return False  # entered from outside: docker exec
    above = chain[:-1] if chain[-1].name in MINI_INITS else chain
    return bool(above) and all(_is_shell(ancestor.name) for ancestor in above[1:] or above)


def _is_shell(name: str) -> bool:
    return re.sub(r"[\d.]+$", "", name) in SHELLS


def list_ancestors(pid: int, root: Path = Path("/")) -> list[ProcessInfo]:
    """Return a process and its ancestors, the topmost last."""
    chain: list[ProcessInfo] = []
    while pid and (current := read_process(pid, root)) and len(chain) < 64:
        chain.append(current)
        pid = current.parent
    return chain


def read_process(pid: int, root: Path = Path("/")) -> ProcessInfo | None:
    """Read a process; None if it is gone. Source: proc_pid_stat(5)."""
    try:
        text = (root / f"proc/{pid}/stat").read_text()
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    fields = after.split()
    return ProcessInfo(
        pid=pid, name=before.partition("(")[2], state=fields[0], parent=int(fields[1])
    )


def start_orphan() -> int | None:
    """Start an orphan that ends at once; return its pid."""
    try:
        done = subprocess.run(
            ["sh", "-c", f"sleep {ORPHAN_S} >/dev/null 2>&1 & echo $!"],
            check=False, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return int(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def is_reaped(pid: int | None, wait_s: float = WAIT_S) -> bool:
    """Return whether an ended orphan was reaped; True if unknown."""
    if pid is None:
        return True
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        current = read_process(pid)
        if current is None:
            return True
        time.sleep(0.02)
    current = read_process(pid)
    return current is None or current.state != "Z"


# Logind checks: whether it kills the processes of a session at logout.

MAIN = ("etc/systemd/logind.conf", "run/systemd/logind.conf", "usr/lib/systemd/logind.conf")
DROP_INS = ("usr/lib", "usr/local/lib", "run", "etc")
"""Folders of drop-ins; of files with one name, the last counts (systemd.unit(5))."""
YES = ("yes", "true", "1", "on", "y", "t")
ASK_S = 2.0
_MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


class Logind(msgspec.Struct, frozen=True, kw_only=True):
    """Logind's settings for the processes of a session that ends."""

    kills: bool | None
    """KillUserProcesses; None if unset."""
    where: str
    """Where it is set: a file, or logind itself."""
    only: tuple[str, ...] = ()
    """Users that it is limited to; empty means all."""
    exclude: tuple[str, ...] = ("root",)
    """Users that are exempt."""

    def kills_processes_of(self, user: str) -> bool:
        """Return whether this user's processes are killed."""
        return (
            bool(self.kills) and user not in self.exclude and (not self.only or user in self.only)
        )


def check_logins(
    root: Path = Path("/"), *, user: str | None = None, ask: bool = True
) -> Iterator[Check]:
    """Warn if runs would end at logout, with the fix."""
    user = user or _get_user()
    cgroup = _read_cgroup(root)
    if not (root / "run/systemd/system").exists():
        return  # without systemd there is no logind
    in_session = bool(re.search(r"/session-[^/]+\.scope", cgroup))
    in_manager = bool(re.search(r"/user@\d+\.service", cgroup))
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    linger = f"loginctl enable-linger {make_visible(user)}"
    if in_manager and not lingers:
        # For example in a desktop's terminal; setsid does not leave its unit.
        detail = "programs started here end at your last logout (they belong to your user manager)"
        yield warning("logind", detail, linger)
        return
    if not in_session:
        return  # a service or a container: not managed by logind
    settings = read_config(root)
    if ask and root == Path("/") and (answer := _query_logind()) is not None:
        settings = Logind(
            kills=answer, where="logind", only=settings.only, exclude=settings.exclude
        )
    if settings.kills_processes_of(user):
        yield warning(
            "logind",
            f"KillUserProcesses is on ({settings.where}): runs end when you log out",
            f"{'' if lingers else f'{linger}, then '}start runs with: systemd-run --user --scope "
            "ftwizard train PLAN",
        )


def read_config(root: Path = Path("/")) -> Logind:
    """Read logind's settings: the main file, then drop-ins by name; the last wins."""
    files = [file for name in MAIN if (file := root / name).is_file()][:1]
    drop_ins: dict[str, Path] = {}
    for folder in DROP_INS:
        for file in (root / folder / "systemd/logind.conf.d").glob("*.conf"):
            drop_ins[file.name] = file
    kills: bool | None = None
    where, only, exclude = "", "", "root"
    for file in [*files, *(drop_ins[name] for name in sorted(drop_ins))]:
        section = _read_login_section(file)
        if value := section.get("killuserprocesses", "").strip():
            kills, where = value.lower() in YES, f"/{file.relative_to(root)}"
        only = section.get("killonlyusers", only)
        exclude = section.get("killexcludeusers", exclude)
    return Logind(
        kills=kills, where=where, only=tuple(only.split()), exclude=tuple(exclude.split())
    )


def _read_login_section(file: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#", ";")
    )
    try:
        parser.read_string(file.read_text(errors="replace"))
    except (OSError, configparser.Error):
        return {}
    return dict(parser["Login"]) if parser.has_section("Login") else {}


def _query_logind() -> bool | None:
    """Query KillUserProcesses from logind, which also knows its build default; None if unavailable."""
    busctl = shutil.which("busctl")
    if not busctl or not Path("/run/systemd/system").exists():
        return None
    try:
        done = subprocess.run(
            [busctl, "get-property", *_MANAGER, "KillUserProcesses"],
            check=False, capture_output=True, text=True, timeout=ASK_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"b true": True, "b false": False}.get(done.stdout.strip())


def _read_cgroup(root: Path) -> str:
    try:
        return (root / "proc/self/cgroup").read_text()
    except OSError:
        return ""


def _get_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


# Checks of what may end a run: a logout, a container, a Slurm job.


def check_sessions(
    facts: MachineInfo, environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> Iterator[Check]:
    """Check what would end a run; report also if nothing does."""
    variables = os.environ if environment is None else environment
    warnings = [
        *check_logins(root),
        *check_containers(root),
        *check_slurm(facts, variables),
    ]
    yield from warnings
    if not warnings:
        yield ok("runs", "they keep running when you log out")
    yield from check_multiplexer(variables)


def check_slurm(
    facts: MachineInfo, environment: Mapping[str, str], now: float | None = None
) -> Iterator[Check]:
    """Warn if runs end with a Slurm allocation, or if this is a login node."""
    if job := environment.get("SLURM_JOB_ID"):
        ends = environment.get("SLURM_JOB_END_TIME", "")
        left_s = int(ends) - (time.time() if now is None else now) if ends.isdigit() else None
        when = f", in {format_duration(left_s)}" if left_s is not None and left_s > 0 else ""
        yield warning(
            "Slurm",
            f"inside job {make_visible(job, 20)}: runs end with it{when}",
            "Request enough time (--time). Continue a run later with: ftwizard resume RUN",
        )
    elif shutil.which("sbatch", path=environment.get("PATH")) and not facts.gpus:
        yield warning(
            "Slurm",
            "a cluster node outside any job, without a GPU: probably a login node",
            "Request a GPU first: salloc --gpus 1 --time 4:00:00",
        )


def check_multiplexer(environment: Mapping[str, str]) -> Iterator[Check]:
    """Warn if there is neither tmux nor screen over SSH."""
    if not environment.get("SSH_CONNECTION") or environment.get("TMUX"):
        return
    path = environment.get("PATH")
    if not shutil.which("tmux", path=path) and not shutil.which("screen", path=path):
        yield warning(
            "tmux",
            "neither tmux nor screen: the view ends with the connection (runs keep running)",
            "Reopen it: ftwizard watch RUN   or: sudo apt install tmux",
        )
