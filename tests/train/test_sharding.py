"""Sharded training in two processes on the CPU: losses and checkpoints are those of one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import plan_file
from ftwizard.train import sharding
from ftwizard.train.encoder import EncodedRow
from tests.helpers.machines import make_machine
from tests.helpers.shared import make_once
from tests.helpers.training import tiny_model
from tests.paths import ROOT

LEARNING_RATE = 5e-3
"""In four steps of ``sharded_process.py``."""
SCRIPT = Path(__file__).with_name("sharded_process.py")


def test_an_accelerate_that_loses_a_part_of_the_adapter_is_refused() -> None:
    sharding.check_accelerate()
    sharding.check_accelerate("1.16.0.dev0")
    with pytest.raises(FtwizardError, match=r"accelerate 1\.14\.0 cannot be used") as refused:
        sharding.check_accelerate("1.14.0")
    assert "accelerate>=1.15.0" in str(refused.value.hint)


def test_fp16_is_refused() -> None:
    for precision in ("bf16", "fp32"):
        sharding.check_precision(precision)
    with pytest.raises(FtwizardError, match="does not support fp16"):
        sharding.check_precision("fp16")


def test_there_is_one_switch_for_activation_checkpointing() -> None:
    for has_gpu in (False, True):
        config = sharding.build_settings(has_gpu=has_gpu)["fsdp_config"]
        assert config["activation_checkpointing"] is False
        assert config["state_dict_type"] == "FULL_STATE_DICT"


@pytest.mark.parametrize(
    ("where", "objective", "gpus", "mode"),
    [
        ("{}", "sft", 2, None),
        ("{processes: 2}", "sft", 2, "ddp"),
        ("{processes: 2, parallel: fsdp}", "sft", 2, "fsdp"),
        ("{processes: 2}", "dpo", 2, "ddp"),
        ("{processes: 2}", "sft", 0, "ddp"),
    ],
)
def test_a_plan_is_sharded_if_it_says_so(
    where: str,
    objective: str,
    gpus: int,
    mode: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = f"recipe: {{objective: {objective}}}"
    plan = plan_file.parse(
        f"data: {{files: {{train: a}}}}\nmodel: {{name: b/c}}\nwhere: {where}\n{recipe}\n"
    )
    cards = tuple(Gpu(name="test", memory=8 * 2**30) for _ in range(gpus))
    monkeypatch.setattr(machine, "read_machine_info", lambda: make_machine(*cards))
    rows = [EncodedRow(line=1, input_ids=[1] * 20, labels=[1] * 20)]
    choice = sharding.choose(plan, tiny_model(tmp_path), {"train": rows})
    assert (choice and choice.mode) == mode


Settings = dict[str, Any]


def train(root: Path, runs: dict[str, Settings], *, shards: bool) -> None:
    """Train a tiny model, by name of a folder in ``root``, in one process or in two that share it.

    One after the other in the same processes, whose start takes longer than the training.
    """
    base = str(root / "tiny")
    usual = {
        "method": "lora",
        "precision": "fp32",
        "dropout": 0.0,
        "checkpointing": False,
        "passes": 1,
    }
    text = json.dumps(
        [
            {"folder": str(root / name), "base": base, "shards": shards, **usual, **settings}
            for name, settings in runs.items()
        ]
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    argv = [sys.executable, *(launcher if shards else []), str(SCRIPT), text]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        argv, check=False, env=environment, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-6000:]


METHODS: dict[str, Settings] = {
    "lora": {},
    "full": {"method": "full", "precision": "bf16"},
    "qlora": {"method": "qlora", "precision": "bf16"},
    "accumulated": {"precision": "bf16", "passes": 2},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of trainings: those of ``METHODS`` alone and sharded, resumed ones, and two
    with dropout."""
    return make_once(tmp_path_factory, "sharded-runs", train_all)


def train_all(root: Path) -> None:
    tiny_model(root)
    train(root, {f"alone-{name}": settings for name, settings in METHODS.items()}, shards=False)
    resumed = {"resume": "checkpoint-2"}
    keep_half(root / "alone-lora", root / "resumed-lora")
    sharded = {f"sharded-{name}": settings for name, settings in METHODS.items()}
    others: dict[str, Settings] = {
        "resumed-lora": resumed,
        "sharded-full-fp32": {"method": "full"},
        "dropout": {"dropout": 0.5},
        "dropout-checkpointing": {"dropout": 0.5, "checkpointing": True},
    }
    train(root, {**sharded, **others}, shards=True)
    keep_half(root / "sharded-full-fp32", root / "resumed-full")
    train(root, {"resumed-full": {"method": "full", **resumed}}, shards=False)


def keep_half(folder: Path, copy: Path) -> None:
    """Copy a training without its second checkpoint."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoint-4"))


def read_losses(folder: Path) -> list[float]:
    """Return the losses and grad norms of all steps, and the losses of evaluations."""
    logs = json.loads((folder / "losses.json").read_text())
    return [value for log in logs for name, value in sorted(log.items()) if name != "step"]


def read_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (path,) = folder.glob("*model.safetensors")
    return load_file(path)


def require_same_files(one: Path, two: Path, tolerance: float) -> None:
    """Check that checkpoints have the same files, and whole weights with nearly equal values."""
    import torch

    names = {path.name for path in one.iterdir()} - {"rng_state.pth"}
    assert {path.name for path in two.iterdir()} - {"rng_state_0.pth", "rng_state_1.pth"} == names
    for name in names - {"training_args.bin", "trainer_state.json"}:
        # torch aligns what it saves, so that optimizers differ by a few hundred bytes.
        sizes = [(folder / name).stat().st_size for folder in (one, two)]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.02), name
    expected, measured = read_weights(one), read_weights(two)
    assert expected.keys() == measured.keys() and expected
    for name, weight in expected.items():
        assert weight.dtype == measured[name].dtype
        assert torch.allclose(weight, measured[name], rtol=0, atol=tolerance), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("lora", 1e-6), ("full", 1e-2), ("qlora", 1e-3), ("accumulated", 3e-3)],
)
def test_two_processes_train_and_save_as_one(runs: Path, method: str, tolerance: float) -> None:
    one, two = runs / f"alone-{method}", runs / f"sharded-{method}"
    expected = read_losses(one)
    assert len(expected) == 10  # four steps with two values each, two evaluations
    assert read_losses(two) == pytest.approx(expected, rel=max(tolerance, 1e-5))
    # In 16 bit, rounding turns gradients near 0, and Adam moves each weight by the learning rate.
    moved = 4 * LEARNING_RATE if METHODS[method] else tolerance
    for name in ("checkpoint-2", "checkpoint-4"):
        require_same_files(one / name, two / name, moved)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [("alone-lora", "resumed-lora"), ("sharded-full-fp32", "resumed-full")],
)
def test_a_run_continues_with_any_number_of_processes(runs: Path, before: str, after: str) -> None:
    import torch

    assert read_losses(runs / after) == pytest.approx(read_losses(runs / before), rel=1e-5)
    last = read_weights(runs / before / "checkpoint-4")
    for name, weight in read_weights(runs / after / "checkpoint-4").items():
        assert torch.allclose(weight, last[name], rtol=0, atol=1e-5), name


@pytest.mark.slow
def test_checkpointing_repeats_the_same_dropout(runs: Path) -> None:
    plain, again = runs / "dropout", runs / "dropout-checkpointing"
    assert read_losses(again) == pytest.approx(read_losses(plain), rel=1e-5)
    names = read_weights(plain / "checkpoint-4").keys()
    assert read_weights(again / "checkpoint-4").keys() == names
