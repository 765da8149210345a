"""Real ssh server with its own keys, configuration and loopback port."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.cli import FTWIZARD
from tests.e2e.terminal import Terminal
from tests.paths import ROOT

SERVER = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
IS_INSTALLED = bool(SERVER and shutil.which("ssh") and shutil.which("ssh-keygen"))
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
AllowTcpForwarding no
ClientAliveInterval 1
ClientAliveCountMax 3
PrintMotd no
"""


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[list[str]]:
    """Run a server; yield the ssh command that connects to it."""
    port = _free_port()
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    user = getpass.getuser()
    config = folder / "sshd_config"
    config.write_text(CONFIG.format(port=port, folder=folder, user=user))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # for privilege separation
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(SERVER), "-D", "-e", "-f", str(config)], stderr=log, start_new_session=True
        )
    try:
        _until_open(port, folder / "log")
        yield [
            "ssh", "-F", "none", "-i", str(folder / "user"), "-p", str(port),
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known",
            "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", f"{user}@127.0.0.1",
        ]  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def session(ssh: list[str], home: Path, *argv: object) -> Terminal:
    """Open an ssh session that runs ``ftwizard ARGV…`` in its own terminal."""
    variables = {
        "FTWIZARD_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    command = shlex.join([str(FTWIZARD), *map(str, argv)])
    return Terminal(
        command=[ssh[0], "-tt", *ssh[1:], f"{assignments} {command}"], columns=100, rows=30
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _until_open(port: int, log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
