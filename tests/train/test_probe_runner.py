"""A probe tries smaller batches until one fits, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.train import command, probe_runner
from ftwizard.train.probe_runner import ProbeResult
from tests.helpers import jobs
from tests.paths import DOUBLES, ROOT

DUMMY = DOUBLES / "dummy_probe.py"
SOURCE = ModelSource(kind="folder", name="/m", fingerprint="f", description="/m")


@pytest.fixture(autouse=True)
def dummy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the dummy be what a try starts; whatever happens, nothing of it may be left."""
    text = tmp_path / "said"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(command, "build_argv", lambda path: [sys.executable, str(DUMMY), str(path)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DUMMY_SAID", str(text))
    yield text
    assert not list(scratch.iterdir())
    assert not Path(f"/proc/{text.read_text().split()[0]}").exists()


def made(batch: int, accumulation: int = 1) -> Plan:
    return plan_file.parse(
        f"data: {{files: {{train: /a}}}}\nmodel: {{name: /m}}\n"
        f"recipe: {{batch_size: {batch}, gradient_accumulation: {accumulation}, "
        "learning_rate: 1e-4}\n"
    )


def tried(batch: int = 8, accumulation: int = 1) -> ProbeResult:
    recorded: list[str] = []
    probe = probe_runner.run_probe(
        made(batch, accumulation=accumulation), SOURCE, 3,
        lambda phase, **fields: recorded.append(phase),
    )  # fmt: skip
    assert {"loading", "measuring"} <= set(recorded)
    return probe


def test_what_fits_is_left_as_it_is() -> None:
    result = tried(8)
    assert (result.halved, result.plan.recipe.batch_size) == (0, 8)
    assert result.measured.memory_training == 8000
    assert result.findings == ["Said each time."]


@pytest.mark.parametrize(
    ("ends", "why"), [("gpu", "out of GPU memory"), ("memory", "out of memory")]
)
def test_out_of_memory_makes_the_batch_smaller_and_says_so(
    ends: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "2")
    monkeypatch.setenv("DUMMY_ENDS", ends)
    result = tried(8, 3)
    recipe = result.plan.recipe
    assert (result.halved, recipe.batch_size, recipe.gradient_accumulation) == (2, 2, 12)
    assert result.measured.memory_training == 2000, "the last try alone counts"
    assert len(result.findings) == 3 and why in result.findings[1]


def test_the_kernels_kill_is_out_of_memory_and_another_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "4")
    monkeypatch.setenv("DUMMY_ENDS", "kill")
    monkeypatch.setattr(machine, "count_oom_kills", iter(range(100)).__next__)
    assert tried(8).halved == 1
    monkeypatch.setattr(machine, "count_oom_kills", lambda: 7)
    with pytest.raises(FtwizardError, match="killed before it finished"):
        tried(8)


@pytest.mark.parametrize(
    ("ends", "fits", "message", "hint", "code"),
    [
        ("gpu", 0, "ran out of GPU memory with the smallest batch (1 row)", "qlora", 1),
        ("memory", 0, "ran out of memory with the smallest batch (1 row)", "max_length", 1),
        ("loading", 64, "while loading the model", "smaller model", 1),
        ("refuse", 0, "It trains on nothing", "Give it answers", 3),
        ("crash", 0, "ValueError: made up", "fail the same way", 1),
    ],
)
def test_what_cannot_be_measured_is_told_with_a_next_step(
    ends: str, fits: int, message: str, hint: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", str(fits))
    monkeypatch.setenv("DUMMY_ENDS", ends)
    with pytest.raises(FtwizardError) as error:
        tried(4)
    assert message in error.value.message and hint in error.value.hint
    assert error.value.exit_code == code


def test_ctrl_c_ends_it_and_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_FITS", "0")
    monkeypatch.setenv("DUMMY_ENDS", "hang")

    def interrupt(phase: str, **fields: object) -> None:
        if phase == "measuring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_runner.run_probe(made(4), SOURCE, 3, interrupt)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_who_started_it_is_ended_it_goes_too(
    number: signal.Signals, dummy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "0")
    monkeypatch.setenv("DUMMY_ENDS", "hang")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    starter = subprocess.Popen([sys.executable, "-c", (
        "import sys\n"
        "from ftwizard.train import command, probe_runner\n"
        "from tests.train.test_probe_runner import DUMMY, SOURCE, made\n"
        "command.build_argv = lambda path: [sys.executable, str(DUMMY), str(path)]\n"
        "with probe_runner.exit_on_sigterm():\n"
        "    probe_runner.run_probe(made(4), SOURCE, 3, lambda *_, **__: None)\n"
    )])  # fmt: skip
    end = time.monotonic() + 60
    while not (dummy.exists() and dummy.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    pid, folder = dummy.read_text().split()
    os.kill(starter.pid, number)
    starter.wait(30)
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(folder).parent.exists()


def test_it_does_not_disturb_a_run(home: Path, dummy: Path) -> None:
    (home / "runs").mkdir(parents=True)
    job: JobFolder = jobs.start(jobs.make(home / "runs" / "busy", steps=5000))
    with pytest.raises(FtwizardError, match="Run busy is active"):
        tried()
    os.kill(jobs.command_pid(job), signal.SIGKILL)
    jobs.until_ended(job)
    assert tried().halved == 0
