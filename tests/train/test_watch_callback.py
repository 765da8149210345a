"""The training of a user's own script, recorded by ``WatchCallback``, in the test's process."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

from ftwizard import WatchCallback
from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import loss_curves, store, watched
from ftwizard.runs.summary import read_progress
from tests.helpers.jobs import events, until
from tests.helpers.training import rows, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


class AtStep(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step: int, do: Any) -> None:
        self._step, self._do = step, do

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            self._do()


def make_trainer(
    model: Path, output: Path, *callbacks: TrainerCallback, **settings: Any
) -> SFTTrainer:
    validates = settings.get("eval_strategy") != "no"
    config: dict[str, Any] = {
        "max_steps": 8, "per_device_train_batch_size": 2, "logging_steps": 1, "save_steps": 4,
        "eval_strategy": "steps", "eval_steps": 4, "report_to": "none", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "disable_tqdm": True, **settings,
    }  # fmt: skip
    return SFTTrainer(
        str(model),
        args=SFTConfig(output_dir=str(output), **config),
        train_dataset=Dataset.from_list(rows(16)),
        eval_dataset=Dataset.from_list(rows(4, 90)) if validates else None,
        callbacks=list(callbacks),
    )


def only_run() -> JobFolder:
    (folder,) = store.list_runs()
    return folder


def ask(callback: WatchCallback, name: requests.Name) -> None:
    """Request something, and wait until the recording's thread took note of it."""
    recording: Any = callback._recording
    folder = only_run()
    requests.send(folder, name, folder.newest_attempt())
    end = time.monotonic() + 60
    while not recording.job.is_asked(name):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_training_is_recorded_as_a_run(model: Path, tmp_path: Path) -> None:
    make_trainer(model, tmp_path / "out", WatchCallback("mine")).train()
    folder = only_run()
    assert folder.id == "mine" and folder.read_job().kind == watched.KIND
    status = store.read_status(folder)
    assert (status.state, status.end_reason) == ("ended", "finished")
    assert (status.step, status.total_steps, status.epoch) == (8, 8, 1.0)
    assert [event["step"] for event in events(folder, "log")] == list(range(1, 9))
    assert [event["step"] for event in events(folder, "eval")] == [4, 8]
    saved = [(event["step"], Path(event["path"])) for event in events(folder, "checkpoint")]
    assert saved == [(4, tmp_path / "out/checkpoint-4"), (8, tmp_path / "out/checkpoint-8")]
    assert all(path.is_dir() for _, path in saved)
    (begin, *_) = [event for event in events(folder, "phase") if event["phase"] == "training"]
    assert (begin["objective"], begin["total"]) == ("sft", 8)
    assert {event["code"] for event in events(folder, "finding")} & {"insufficient", "no_learning"}
    assert events(folder, "log")[-1]["tokens"] > 0
    curve = loss_curves.from_progress(read_progress(folder), folder)
    assert curve.checkpoints == [4, 8]


def test_job_record_keeps_no_arguments_of_the_script(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), "--token", "hf_secret"])
    make_trainer(model, tmp_path / "out", WatchCallback(), max_steps=1, eval_strategy="no").train()
    written = b"".join(path.read_bytes() for path in only_run().path.rglob("*") if path.is_file())
    assert b"hf_secret" not in written and b"train.py" in written


def test_request_to_stop_saves_and_ends_at_that_step(model: Path, tmp_path: Path) -> None:
    callback = WatchCallback()
    stop = AtStep(3, lambda: ask(callback, "stop"))
    trainer = make_trainer(model, tmp_path / "out", stop, callback, save_steps=100)
    trainer.train()
    assert trainer.state.global_step == 3
    assert (tmp_path / "out/checkpoint-3").is_dir()
    status = observe(only_run())
    assert (status.state, status.end_reason) == ("ended", "stopped")


def test_requests_to_save_and_evaluate(model: Path, tmp_path: Path) -> None:
    callback = WatchCallback()

    def ask_for_both() -> None:
        ask(callback, "save")
        ask(callback, "evaluate")

    make_trainer(model, tmp_path / "out", AtStep(2, ask_for_both), callback).train()
    assert (tmp_path / "out/checkpoint-2").is_dir()
    assert [event["step"] for event in events(only_run(), "eval")] == [2, 4, 8]
    assert not list(only_run().requests.iterdir())


def test_evaluation_is_refused_without_validation_data(model: Path, tmp_path: Path) -> None:
    callback = WatchCallback()
    asks = AtStep(2, lambda: ask(callback, "evaluate"))
    make_trainer(model, tmp_path / "out", asks, callback, eval_strategy="no").train()
    assert "nothing_to_evaluate" in {event["code"] for event in events(only_run(), "finding")}
    assert observe(only_run()).end_reason == "finished"


def test_resumed_training_continues_its_run(model: Path, tmp_path: Path) -> None:
    make_trainer(model, tmp_path / "out", WatchCallback(), max_steps=5).train()
    make_trainer(model, tmp_path / "out", WatchCallback()).train(resume_from_checkpoint=True)
    folder = only_run()
    assert folder.newest_attempt() == 2
    progress = read_progress(folder)
    assert list(progress.losses.xs) == list(range(1, 9))
    assert observe(folder).end_reason == "finished"


def test_training_from_the_start_is_a_run_of_its_own(model: Path, tmp_path: Path) -> None:
    callback = WatchCallback("again")
    for _ in range(2):
        make_trainer(model, tmp_path / "out", callback, max_steps=2).train()
    assert [folder.id for folder in store.list_runs()] == ["again", "again-2"]
    assert {observe(folder).end_reason for folder in store.list_runs()} == {"finished"}


def test_exception_in_a_notebook_ends_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("no more {cells}")

    with pytest.raises(RuntimeError) as raised:
        make_trainer(model, tmp_path / "out", AtStep(3, fail), WatchCallback()).train()
    monkeypatch.setattr(sys, "last_value", raised.value, raising=False)  # as IPython does
    status = until(only_run(), lambda status: status.state == "ended")
    assert status.end_reason == "crashed" and "no more {cells}" in status.message


def test_next_training_ends_one_that_an_exception_left(model: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    callback = WatchCallback("cell")
    with pytest.raises(KeyboardInterrupt):
        make_trainer(model, tmp_path / "out", AtStep(3, fail), callback).train()
    make_trainer(model, tmp_path / "out2", callback, max_steps=2).train()
    first, second = store.list_runs()
    assert observe(first).end_reason == "crashed" and observe(second).end_reason == "finished"


def test_home_that_cannot_be_written_costs_one_warning(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "file" / "home"))
    trainer = make_trainer(model, tmp_path / "out", WatchCallback())
    trainer.train()
    assert trainer.state.global_step == 8
    lines = [line for line in capsys.readouterr().err.splitlines() if "ftwizard:" in line]
    assert len(lines) == 1 and "not recorded" in lines[0] and "FTWIZARD_HOME" in lines[0]


def test_failure_in_the_middle_costs_one_warning(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = WatchCallback()

    def break_it() -> None:
        recording: Any = callback._recording
        monkeypatch.setattr(recording, "_output", None)  # whatever fails inside

    trainer = make_trainer(model, tmp_path / "out", AtStep(3, break_it), callback)
    trainer.train()
    assert trainer.state.global_step == 8
    assert capsys.readouterr().err.count("not recorded") == 1
    status = observe(only_run())
    assert status.state == "ended" and "went on without it" in status.message


class NaNTrainer(SFTTrainer):
    """Reports a loss of NaN at each step."""

    def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> None:
        if "loss" in logs:
            logs["loss"] = math.nan
        super().log(logs, *rest, **named)


@pytest.mark.parametrize("stops", [False, True])
def test_nan_ends_the_training_only_if_asked(model: Path, tmp_path: Path, *, stops: bool) -> None:
    trainer = make_trainer(model, tmp_path / "out", WatchCallback(stop_on_nan=stops), max_steps=12)
    trainer.__class__ = NaNTrainer
    trainer.train()
    status = observe(only_run())
    assert (status.end_reason == "nan") == stops
    assert (trainer.state.global_step < 12) == stops
    if not stops:
        assert "nan" in {event["code"] for event in events(only_run(), "finding")}


def test_values_of_other_trainers_are_recorded_by_trls_names(model: Path, tmp_path: Path) -> None:
    class Rewarded(SFTTrainer):
        def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> None:
            super().log(
                {**logs, "rewards/chosen": 0.25, "completions/mean_length": 7.0}, *rest, **named
            )

    trainer = make_trainer(model, tmp_path / "out", WatchCallback(), eval_strategy="no")
    trainer.__class__ = Rewarded
    trainer.train()
    (log, *_) = events(only_run(), "log")
    assert (log["rewards_chosen"], log["completions_mean_length"]) == (0.25, 7.0)


def test_several_validation_sets_are_averaged(model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(model, tmp_path / "out", WatchCallback())
    one = trainer.eval_dataset
    trainer.eval_dataset = {"easy": one, "hard": one}
    trainer.train()
    progress = read_progress(only_run())
    assert [x for x, _ in (progress.evaluations[i] for i in range(len(progress.evaluations)))] == [
        4,
        8,
    ]
    assert progress.metrics["eval_easy_loss"].last == pytest.approx(progress.eval_loss)


def test_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, ftwizard; from ftwizard import __version__; "
        "assert 'WatchCallback' in ftwizard.__all__; "
        "print(sorted({'torch', 'transformers', 'trl', 'ftwizard.train', 'msgspec'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_callback_adds_nothing_heavy_to_a_script_that_trains() -> None:
    """Importing it loads only small packages, next to transformers, which a script has already.

    Transformers is only a name here: what is imported does not depend on it, and it takes long.
    """
    code = (
        "import sys; from types import ModuleType; before = set(sys.modules); "
        "trainers = sys.modules['transformers'] = ModuleType('transformers'); "
        "trainers.__getattr__ = lambda name: type(name, (), {}); "
        "from ftwizard import WatchCallback; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split()) - sys.stdlib_module_names
    assert {"ftwizard", "transformers"} <= loaded
    small = {"msgspec", "psutil", "typing_extensions", "xxhash"}
    assert loaded - {"ftwizard", "transformers"} <= small


def test_preference_training_is_recorded_with_its_objective(model: Path, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

    pairs = [
        {"prompt": f"{n}?", "chosen": " yes, it is", "rejected": " no"} for n in range(8)
    ]  # fmt: skip
    config = DPOConfig(
        output_dir=str(tmp_path / "out"), max_steps=3, per_device_train_batch_size=2, logging_steps=1,
        eval_strategy="steps", eval_steps=3, report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    data = Dataset.from_list(pairs)
    DPOTrainer(
        str(model), args=config, train_dataset=data, eval_dataset=data, callbacks=[WatchCallback()]
    ).train()
    folder = only_run()
    (begin,) = [event for event in events(folder, "phase") if event["phase"] == "training"]
    assert begin["objective"] == "dpo"
    assert {"rewards_chosen", "rewards_margins", "logps_rejected"} <= events(folder, "log")[
        0
    ].keys()
    assert "eval_rewards_accuracies" in events(folder, "eval")[0]
    assert loss_curves.from_progress(read_progress(folder), folder).objective == "dpo"
    assert "diagnosis_failed" not in {event["code"] for event in events(folder, "finding")}
