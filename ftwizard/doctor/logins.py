"""Logind checks: whether it kills the processes of a session at logout."""

from __future__ import annotations

import configparser
import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, warning
from ftwizard.text import visible

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


def run_checks(
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
    linger = f"loginctl enable-linger {visible(user)}"
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
