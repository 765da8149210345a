"""Resume of a run whose checkpoints were damaged after they were saved; every fault is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import Attempt, JobFolder, Parent, write_json
from ftwizard.runs import checkpoints
from ftwizard.train import checkpoint_rotation, initial_weights
from tests.helpers.checkpoints import flip_bit
from tests.helpers.jobs import events
from tests.helpers.training import again, train


def flip(file: Path) -> None:
    flip_bit(file, file.stat().st_size // 2)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


FAULTS: dict[str, Callable[[Path], None]] = {
    "flipped": flip, "cut": cut, "empty": empty, "removed": Path.unlink,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """Return a finished run with checkpoints at steps 4 (the best) and 8."""
    root = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_rotation, "rotate", lambda folder: [])
        folder = train(root, "run")
    checkpoint_rotation.mark_complete(
        folder.checkpoints / "checkpoint-4", step=4, attempt=1, eval_loss=1.0, tokens=400
    )
    return folder


@pytest.fixture
def run(trained: JobFolder, tmp_path: Path) -> JobFolder:
    """Return a copy of it that was killed after step 8, before its result."""
    folder = JobFolder(tmp_path / "run")
    shutil.copytree(trained.path, folder.path)
    folder.trained.unlink()
    shutil.rmtree(folder.adapter)
    return folder


def resume(folder: JobFolder, *, from_start: bool = False) -> Attempt:
    """Choose the beginning as ``ftwizard resume`` does, and train to the end in this process."""
    beginning = checkpoint_rotation.choose_beginning(folder, from_start=from_start)
    attempt = Attempt(
        number=folder.newest_attempt() + 1, started=0, host="", argv=[],
        checkpoint=beginning.checkpoint, damaged=dict(beginning.damaged),
    )  # fmt: skip
    write_json(folder.attempt(attempt.number), attempt)
    again(folder)
    return attempt


def read_findings(folder: JobFolder) -> list[str]:
    return [e["message"] for e in events(folder, "finding") if e["code"] == "damaged_checkpoint"]


@pytest.mark.parametrize("fault", FAULTS)
def test_newest_sound_checkpoint_is_chosen_whatever_is_damaged(run: JobFolder, fault: str) -> None:
    newest, saved = run.checkpoints / "checkpoint-8", run.path / "saved"
    shutil.copytree(newest, saved)
    names = sorted(path.name for path in saved.iterdir())
    assert {
        "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
        "trainer_state.json", "training_args.bin", checkpoints.MARKER,
    } <= set(names)  # fmt: skip
    for name in names:
        FAULTS[fault](newest / name)
        beginning = checkpoint_rotation.choose_beginning(run)
        assert beginning.checkpoint == "checkpoints/checkpoint-4", name
        if name == checkpoints.MARKER and fault == "removed":
            assert checkpoint_rotation.move_torn(run.checkpoints) == ["checkpoint-8"]
        else:
            assert beginning.damaged == {"checkpoint-8": [name]}
            assert not newest.exists() and list(run.checkpoints.glob("damaged-checkpoint-8*"))
        shutil.copytree(saved, newest)
    assert checkpoint_rotation.choose_beginning(run).checkpoint == "checkpoints/checkpoint-8"


def test_resumed_run_after_damage_ends_with_the_weights_of_an_undisturbed_one(
    trained: JobFolder, run: JobFolder
) -> None:
    flip(run.checkpoints / "checkpoint-8" / "optimizer.pt")
    resume(run)
    steps = [e["step"] for e in events(run, "log") if e["attempt"] == 2]
    assert steps == [5, 6, 7, 8]
    weights = "checkpoints/checkpoint-8/adapter_model.safetensors"
    assert (run.path / weights).read_bytes() == (trained.path / weights).read_bytes()
    assert read_findings(run) == [
        "checkpoint-8 is damaged (optimizer.pt); the run continues from checkpoint-4."
    ]
    assert (run.checkpoints / "damaged-checkpoint-8" / "optimizer.pt").exists(), "it is kept"


def test_damaged_best_checkpoint_is_not_the_result(run: JobFolder) -> None:
    best = checkpoints.find_best(checkpoints.all_complete(run.checkpoints))
    assert best and best.step == 4
    flip(run.checkpoints / "checkpoint-4" / "adapter_model.safetensors")
    resume(run)
    assert read_findings(run) == [
        "checkpoint-4 is damaged (adapter_model.safetensors). The result is checkpoint-8 instead."
    ]
    newest = run.checkpoints / "checkpoint-8" / "adapter_model.safetensors"
    assert (run.adapter / newest.name).read_bytes() == newest.read_bytes()


def test_damaged_result_is_taken_from_its_checkpoint_again(
    trained: JobFolder, run: JobFolder
) -> None:
    shutil.copyfile(trained.trained, run.trained)
    shutil.copytree(trained.adapter, run.adapter)
    flip(run.adapter / "adapter_model.safetensors")
    resume(run)
    assert not [e for e in events(run, "log") if e["attempt"] == 2], "no step is repeated"
    best = run.checkpoints / "checkpoint-4" / "adapter_model.safetensors"
    assert (run.adapter / best.name).read_bytes() == best.read_bytes()


def test_run_without_a_sound_checkpoint_starts_over_only_if_asked(run: JobFolder) -> None:
    for step in (4, 8):
        flip(run.checkpoints / f"checkpoint-{step}" / "optimizer.pt")
    for _ in range(2):
        with pytest.raises(FtwizardError) as caught:
            checkpoint_rotation.choose_beginning(run)
        assert caught.value.message == (
            "Run run has no sound checkpoint left: checkpoint-8 is damaged (optimizer.pt); "
            "checkpoint-4 is damaged (optimizer.pt)."
        )
        assert "ftwizard branch run --from 8" in caught.value.hint, "the weights are sound"
        assert "ftwizard resume run --from start" in caught.value.hint
    assert len(list(run.checkpoints.glob("checkpoint-*"))) == 2, "nothing was moved"
    beginning = checkpoint_rotation.choose_beginning(run, from_start=True)
    assert beginning.checkpoint is None and len(beginning.damaged) == 2


def test_deleted_checkpoints_do_not_start_a_run_over_silently(run: JobFolder) -> None:
    shutil.rmtree(run.checkpoints)
    with pytest.raises(FtwizardError, match="no sound checkpoint left; they were deleted"):
        checkpoint_rotation.choose_beginning(run)
    assert checkpoint_rotation.choose_beginning(run, from_start=True).checkpoint is None


def test_child_does_not_start_from_damaged_initial_weights(run: JobFolder) -> None:
    """A copy of the parent's checkpoint, flipped after the branch was created."""
    initial_weights.save_initial_weights(run, run.checkpoints / "checkpoint-8", "lora")
    shutil.rmtree(run.checkpoints)
    parent = Parent(id="parent", step=8, changes={})
    write_json(run.job, msgspec.structs.replace(run.read_job(), parent=parent))
    flip(run.origin / "adapter_model.safetensors")
    with pytest.raises(
        FtwizardError, match=r"initial weights are damaged: adapter_model"
    ) as caught:
        resume(run, from_start=True)
    assert "ftwizard branch parent --from 8" in caught.value.hint
    flip(run.origin / "adapter_model.safetensors")
    resume(run, from_start=True)
    assert run.trained.exists()


def test_start_over_is_refused_while_a_checkpoint_is_sound(run: JobFolder) -> None:
    with pytest.raises(FtwizardError, match="has a sound checkpoint-8"):
        checkpoint_rotation.choose_beginning(run, from_start=True)
