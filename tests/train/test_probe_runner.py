"""Probes: halving of the batch, errors and cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
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
    """Replace the probe's process with a dummy; check that it leaves nothing behind."""
    info_file = tmp_path / "said"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(command, "build_argv", lambda path: [sys.executable, str(DUMMY), str(path)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DUMMY_INFO_FILE", str(info_file))
    yield info_file
    assert not list(scratch.iterdir())
    assert not Path(f"/proc/{info_file.read_text().split()[0]}").exists()


def make_plan(batch: int, accumulation: int = 1) -> Plan:
    return plan_file.parse(
        f"data: {{files: {{train: /a}}}}\nmodel: {{name: /m}}\n"
        f"recipe: {{batch_size: {batch}, gradient_accumulation: {accumulation}, "
        "learning_rate: 1e-4}\n"
    )


def probe_batch(batch: int = 8, accumulation: int = 1) -> ProbeResult:
    recorded: list[str] = []
    probe = probe_runner.run_probe(
        make_plan(batch, accumulation=accumulation), SOURCE, 3,
        lambda phase, **fields: recorded.append(phase),
    )  # fmt: skip
    assert {"loading", "measuring"} <= set(recorded)
    return probe


def test_batch_that_fits_is_kept() -> None:
    result = probe_batch(8)
    assert (result.halved, result.plan.recipe.batch_size) == (0, 8)
    assert result.measured.memory_training == 8000
    assert result.findings == ["Said each time."]


@pytest.mark.parametrize(
    ("ends", "why"), [("gpu", "out of GPU memory"), ("memory", "out of memory")]
)
def test_out_of_memory_halves_the_batch_with_a_finding(
    ends: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "2")
    monkeypatch.setenv("DUMMY_ENDS", ends)
    result = probe_batch(8, 3)
    recipe = result.plan.recipe
    assert (result.halved, recipe.batch_size, recipe.gradient_accumulation) == (2, 2, 12)
    assert result.measured.memory_training == 2000, "only the last try counts"
    assert len(result.findings) == 3 and why in result.findings[1]


def test_oom_kill_halves_the_batch_but_another_kill_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "4")
    monkeypatch.setenv("DUMMY_ENDS", "kill")
    monkeypatch.setattr(machine, "count_oom_kills", iter(range(100)).__next__)
    assert probe_batch(8).halved == 1
    monkeypatch.setattr(machine, "count_oom_kills", lambda: 7)
    with pytest.raises(FtwizardError, match="killed before it finished"):
        probe_batch(8)


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
def test_failed_probe_raises_an_error_with_a_hint(
    ends: str, fits: int, message: str, hint: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", str(fits))
    monkeypatch.setenv("DUMMY_ENDS", ends)
    with pytest.raises(FtwizardError) as error:
        probe_batch(4)
    assert message in error.value.message and hint in error.value.hint
    assert error.value.exit_code == code


@pytest.mark.parametrize(("processes", "part"), [(1, "the whole model"), (2, "a larger part")])
def test_memory_of_one_node_is_no_verdict_on_a_model_sharded_over_several(
    processes: int, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "64")
    monkeypatch.setenv("DUMMY_ENDS", "loading")
    where = msgspec.structs.replace(make_plan(4).where, processes=processes, scheduler="slurm")
    slurm = msgspec.structs.replace(make_plan(4).slurm, gpus=processes, nodes=2)
    several = msgspec.structs.replace(make_plan(4), where=where, slurm=slurm)
    with pytest.raises(FtwizardError, match="one node of 2, where") as error:
        probe_runner.run_probe(several, SOURCE, 3, lambda phase, **fields: None)
    assert part in error.value.message and "FSDP" in error.value.hint


def test_ctrl_c_ends_the_probe_and_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_FITS", "0")
    monkeypatch.setenv("DUMMY_ENDS", "hang")

    def interrupt(phase: str, **fields: object) -> None:
        if phase == "measuring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_runner.run_probe(make_plan(4), SOURCE, 3, interrupt)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_probe_ends_when_its_starter_ends(
    number: signal.Signals, dummy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_FITS", "0")
    monkeypatch.setenv("DUMMY_ENDS", "hang")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    starter = subprocess.Popen([sys.executable, "-c", (
        "import sys\n"
        "from ftwizard.train import command, probe_runner\n"
        "from tests.train.test_probe_runner import DUMMY, SOURCE, make_plan\n"
        "command.build_argv = lambda path: [sys.executable, str(DUMMY), str(path)]\n"
        "with probe_runner.exit_on_sigterm():\n"
        "    probe_runner.run_probe(make_plan(4), SOURCE, 3, lambda *_, **__: None)\n"
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


def test_probe_is_refused_while_a_run_is_active(home: Path, dummy: Path) -> None:
    (home / "runs").mkdir(parents=True)
    job: JobFolder = jobs.start(jobs.make(home / "runs" / "busy", steps=5000))
    with pytest.raises(FtwizardError, match="Run busy is active"):
        probe_batch()
    os.kill(jobs.command_pid(job), signal.SIGKILL)
    jobs.until_ended(job)
    assert probe_batch().halved == 0
