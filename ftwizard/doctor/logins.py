"""Whether logind ends what a session has started, when that session ends."""

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
"""Where drop-ins are, weakest first: of one file name the last counts (systemd.unit(5))."""
YES = ("yes", "true", "1", "on", "y", "t")
ASK_S = 2.0
_MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


class Logind(msgspec.Struct, frozen=True, kw_only=True):
    """What logind does with the processes of a session that ends."""

    kills: bool | None
    """KillUserProcesses; None where nothing says it."""
    where: str
    """What says it: a file, or logind itself."""
    only: tuple[str, ...] = ()
    """Users that it is limited to; all where empty."""
    exclude: tuple[str, ...] = ("root",)
    """Users that are spared."""

    def kills_of(self, user: str) -> bool:
        """Say whether this user's processes are killed."""
        return (
            bool(self.kills) and user not in self.exclude and (not self.only or user in self.only)
        )


def look(root: Path = Path("/"), *, user: str | None = None, ask: bool = True) -> Iterator[Check]:
    """Warn where runs would end at logout, with what keeps them."""
    who = user or _user()
    cgroup = _cgroup(root)
    if not (root / "run/systemd/system").exists():
        return  # without systemd there is no logind
    in_session = bool(re.search(r"/session-[^/]+\.scope", cgroup))
    in_manager = bool(re.search(r"/user@\d+\.service", cgroup))
    lingers = (root / "var/lib/systemd/linger" / who).exists()
    linger = f"loginctl enable-linger {visible(who)}"
    if in_manager and not lingers:
        # A desktop's terminal, for one; setsid does not leave its unit.
        found = "programs started here end with your last logout (they belong to your user manager)"
        yield warning("logind", found, linger)
        return
    if not in_session:
        return  # a service, a container: logind knows nothing of it
    settings = configured(root)
    if ask and root == Path("/") and (answer := _asked()) is not None:
        settings = Logind(
            kills=answer, where="logind", only=settings.only, exclude=settings.exclude
        )
    if settings.kills_of(who):
        yield warning(
            "logind",
            f"KillUserProcesses is on ({settings.where}): runs end when you log out",
            f"{'' if lingers else f'{linger}, then '}start runs by: systemd-run --user --scope "
            "ftwizard train PLAN",
        )


def configured(root: Path = Path("/")) -> Logind:
    """Read logind's settings as it does: the main file, then drop-ins by name, the last wins."""
    files = [file for name in MAIN if (file := root / name).is_file()][:1]
    named: dict[str, Path] = {}
    for folder in DROP_INS:
        for file in (root / folder / "systemd/logind.conf.d").glob("*.conf"):
            named[file.name] = file
    kills: bool | None = None
    where, only, exclude = "", "", "root"
    for file in [*files, *(named[name] for name in sorted(named))]:
        said = _login_section(file)
        if value := said.get("killuserprocesses", "").strip():
            kills, where = value.lower() in YES, f"/{file.relative_to(root)}"
        only = said.get("killonlyusers", only)
        exclude = said.get("killexcludeusers", exclude)
    return Logind(
        kills=kills, where=where, only=tuple(only.split()), exclude=tuple(exclude.split())
    )


def _login_section(file: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#", ";")
    )
    try:
        parser.read_string(file.read_text(errors="replace"))
    except (OSError, configparser.Error):
        return {}
    return dict(parser["Login"]) if parser.has_section("Login") else {}


def _asked() -> bool | None:
    """Ask logind itself, which also knows what it was built with; None where there is none."""
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


def _cgroup(root: Path) -> str:
    try:
        return (root / "proc/self/cgroup").read_text()
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
