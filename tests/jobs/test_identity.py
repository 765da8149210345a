"""Identity of processes across reboots."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from ftwizard.jobs import identity


def test_process_of_an_earlier_boot_is_dead_and_never_signaled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of this boot has the same pid and start time as one of the earlier boot."""
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as stranger:
        process = identity.from_pid(stranger.pid)
        assert process and identity.is_alive(process) is True
        assert process.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with monkeypatch.context() as reboot:
            reboot.setattr(identity, "_read_boot_id", lambda: "later")
            assert identity.is_alive(process) is False
            assert not identity.signal_group(process, signal.SIGKILL)
            assert stranger.poll() is None
            namesake = identity.from_pid(stranger.pid)
            assert namesake and namesake != process and identity.is_alive(namesake) is True
        assert identity.signal_group(process, signal.SIGKILL)
        assert stranger.wait() == -signal.SIGKILL
    assert identity.is_alive(process) is False
