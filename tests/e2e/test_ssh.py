"""Watching a run over a real ssh connection that is lost, or slow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from tests.e2e import slow_link, sshd
from tests.e2e.cli import FTWIZARD
from tests.e2e.routes import RUN, running
from tests.helpers.jobs import events, make, start, until_step
from tests.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sshd.IS_INSTALLED, reason="openssh-server or openssh-client is not installed"
    ),
]


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    folder = tmp_path / "sshd"
    folder.mkdir(mode=0o700)
    with sshd.sshd(folder) as command:
        yield command


def views(home: Path) -> list[psutil.Process]:
    """Return the processes that show the run of this home."""
    recorded = []
    for item in psutil.process_iter(["cmdline", "environ"]):
        line, variables = item.info["cmdline"] or [], item.info["environ"] or {}
        shows = line[-2:] == ["watch", RUN] and "ftwizard" in " ".join(line[:-2])
        if shows and variables.get("FTWIZARD_HOME") == str(home):
            recorded.append(item)
    return recorded


def axis(screen: str) -> list[int]:
    """Return the step labels of the chart's axis."""
    row = next((line for line in screen.splitlines() if line.rstrip().endswith("step")), "")
    return [int(number) for number in re.findall(r"\b\d+\b", row)]


@pytest.mark.parametrize("freezes", [False, True], ids=["dropped", "frozen"])
def test_lost_connection_ends_the_view_but_not_the_run(
    ssh: list[str], home: Path, freezes: bool
) -> None:
    folder = running(home)
    with sshd.session(ssh, home, "watch", RUN) as first:
        first.wait(r"● training")
        first.wait(r"loss 0")
        assert len(views(home)) == 1
        if freezes:
            os.kill(first.child.pid, signal.SIGSTOP)
            wait_while_stalled(folder)
        os.kill(first.child.pid, signal.SIGKILL)
        first.exit_code()
        end = time.monotonic() + 20
        while views(home) and time.monotonic() < end:
            time.sleep(0.1)
        assert not views(home), "no view outlives its terminal"
    assert run_continues(folder)
    with sshd.session(ssh, home, "watch", RUN) as second:
        second.wait(r"loss 0")
        recorded = max(e["step"] for e in events(folder, "log"))
        second.until(
            lambda: max(axis(second.screen.text()), default=0) > 0.7 * recorded, "all steps"
        )
        assert axis(second.screen.text())[0] == 0
        steps = [e["step"] for e in events(folder, "log")]
        assert steps == list(range(1, steps[-1] + 1)), "no step is missing"
        second.send("\x1b")
        second.wait(f"Run {RUN} keeps running")
        assert second.exit_code() == 0
    assert run_continues(folder)


def test_view_without_a_terminal_ends_with_its_client(ssh: list[str], home: Path) -> None:
    """Killed while the run is silent, so that no write to the client can fail."""
    folder = start(make(home / "runs" / RUN, mode="hang"))
    until_step(folder, 5)
    line = f"FTWIZARD_HOME={home} PYTHONPATH={ROOT} LC_ALL=C.UTF-8 {FTWIZARD} watch {RUN}"
    # As from a terminal, from a script, and with a stdin that stays open.
    for stdin in (subprocess.PIPE, subprocess.DEVNULL):
        client = subprocess.Popen([*ssh, line], stdin=stdin, stdout=subprocess.PIPE)
        assert client.stdout and b"run " in client.stdout.readline()
        time.sleep(1)
        assert len(views(home)) == 1 and client.poll() is None
        client.kill()
        client.wait()
        end = time.monotonic() + 60
        while views(home):
            assert time.monotonic() < end, "the view outlives its client"
            time.sleep(0.1)
        client.stdout.close()
    assert observe(folder).state == "running"


def wait_while_stalled(folder: JobFolder) -> None:
    """Wait while the run continues and the client reads nothing."""
    until_step(folder, max(e["step"] for e in events(folder, "log")) + 40)


def run_continues(folder: JobFolder) -> bool:
    until_step(folder, max(e["step"] for e in events(folder, "log")) + 5)
    return observe(folder).state == "running"


def test_keys_work_over_a_slow_high_latency_connection(ssh: list[str], home: Path) -> None:
    running(home, step_s=0.01)
    at = ssh.index("-p") + 1
    with (
        slow_link.slow_link(int(ssh[at]), delay_s=0.15, bytes_per_s=4000) as port,
        sshd.session([*ssh[:at], str(port), *ssh[at + 1 :]], home, "watch", RUN) as terminal,
    ):

        def is_closed(shows: str) -> bool:
            return shows not in terminal.screen.text()

        terminal.wait(r"loss 0")
        for _ in range(3):
            for key, shows in (("s", "Stop this run"), ("o", "Output")):
                terminal.send(key)
                terminal.wait(shows)
                terminal.send("\x1b")
                terminal.until(partial(is_closed, shows), "the dialog to close")
        terminal.send("\x11")
        assert terminal.exit_code() == 0
        assert not terminal.screen.foreign
        assert len(terminal.screen.questions) == terminal.output.count(b"\x1b[6n")
