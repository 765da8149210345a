"""Exports within a run: rehearsed before the first step, carried out at its end."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.export import converter, rehearsal, run_exports
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan import plan_file
from ftwizard.runs.exports import read_record
from ftwizard.train import model_loading
from tests.e2e import cli
from tests.helpers import training
from tests.helpers.jobs import events

EXPORT = {"finish": {"merge": True, "export": ["ollama", "vllm"]}}


@pytest.fixture(autouse=True)
def cache(model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own cache with the converter in it, which is downloaded once."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(model_cache))
    wheel = converter.find()
    folder = tmp_path / "cache" / "converter"
    folder.mkdir(parents=True)
    shutil.copy(wheel, folder)
    monkeypatch.setenv("FTWIZARD_CACHE", str(folder.parent))
    return folder.parent


@contextmanager
def _work_in(folder: JobFolder) -> Iterator[Worker]:
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    worker = Worker(folder)
    try:
        yield worker
    finally:
        worker.events.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_tokenizer_that_the_converter_does_not_know_ends_the_run_before_its_first_step(
    tmp_path: Path,
) -> None:
    folder = training.prepare(tmp_path, "run", more=EXPORT)
    with pytest.raises(FtwizardError, match=r"rehearsal .* does not know this tokenizer") as error:
        training.again(folder)
    assert error.value.hint == (
        "Nothing was trained. To train all the same, remove gguf and ollama from finish.export."
    )
    assert not events(folder, "log") and not list(folder.path.glob("checkpoints/*"))
    assert not (folder.path / "rehearsal").exists()


def test_the_random_adapter_is_one_that_peft_loads(small: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    rehearsal.write_random_adapter(small, None, tmp_path / "adapter")
    model = PeftModel.from_pretrained(
        model_loading.load_model(small, "fp32"), str(tmp_path / "adapter")
    )
    weights = {name: value for name, value in model.named_parameters() if "lora_" in name}
    assert len(weights) == 2 * 7 * 2 and all(value.abs().sum() > 0 for value in weights.values())


def test_a_failed_export_is_reported_and_spoils_nothing(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run", more=EXPORT)
    plan = plan_file.load(folder.plan)
    with _work_in(folder) as worker:
        run_exports.export(worker, plan)  # nothing was trained, so that both fail
    findings = events(folder, "finding")
    assert [event["code"] for event in findings] == ["export_failed"] * 2
    assert "has no trained model yet" in findings[0]["message"]
    assert findings[0]["action"] == "ftwizard export run --to ollama"


@pytest.mark.parametrize(
    ("finish", "problem"),
    [
        ({"export": ["gguf:q4"]}, "Unknown quantization “q4”"),
        ({"export": ["gguf"], "merge": False}, "exports are made from the merged model"),
    ],
)
def test_a_plan_with_an_impossible_export_is_refused(
    tmp_path: Path, finish: dict[str, object], problem: str
) -> None:
    with pytest.raises(FtwizardError, match=problem):
        training.prepare(tmp_path, "run", more={"finish": finish})


@pytest.mark.slow
def test_a_run_rehearses_once_and_exports_at_its_end(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "tiny")
    folder = training.train(tmp_path, "run", more=EXPORT)
    findings = {event["code"]: event for event in events(folder, "finding")}
    assert "rehearsed" in findings and findings["rehearsed"]["evidence"]["seconds"] > 0
    steps = [e["t"] for e in events(folder, "log")]
    assert findings["rehearsed"]["t"] < min(steps)
    for form in ("gguf", "ollama", "vllm"):
        assert read_record(folder.exports / form)
    record = read_record(folder.exports / "gguf")
    assert record and record.model == "run-BF16.gguf"
    lines = (folder.exports / "vllm" / "commands.txt").read_text()
    assert "--enable-lora" in lines and json.dumps(str(folder.adapter)) in lines
    again = training.train(tmp_path, "again", more=EXPORT)
    assert not [e for e in events(again, "phase") if e["phase"] == "rehearsing"]


@pytest.mark.slow
def test_the_command_says_what_fails_and_leaves_no_files(tmp_path: Path, cache: Path) -> None:
    training.prepare(tmp_path, "with", more=EXPORT)
    done = cli.run("rehearse", tmp_path / "with.yaml")
    assert done.returncode == 1 and "does not know this tokenizer" in done.stderr
    assert list((cache / "rehearsals").iterdir()) == []
    training.prepare(tmp_path, "without")
    done = cli.run("rehearse", tmp_path / "without.yaml")
    assert done.returncode == 2 and "asks for no export" in done.stderr
