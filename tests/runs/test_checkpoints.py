"""Complete and torn checkpoints, and their rotation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.runs import checkpoints
from ftwizard.train import checkpoint_rotation
from tests.helpers.checkpoints import flip_bit, save


def test_complete_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    for step in (100, 9, 20):
        save(tmp_path, step)
    save(tmp_path, 200, marked=False)
    (tmp_path / "other").mkdir()
    assert [c.step for c in checkpoints.all_complete(tmp_path)] == [9, 20, 100]
    assert checkpoints.all_complete(tmp_path / "none") == []


def test_truncated_checkpoint_is_not_complete(tmp_path: Path) -> None:
    folder = save(tmp_path, 5)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for cut in {0, 1, len(data) // 2, len(data.rstrip()) - 1}:
            path.write_bytes(data[:cut])
            assert checkpoints.read(folder) is None, (path.name, cut)
        path.unlink()
        assert checkpoints.read(folder) is None, path.name
        path.write_bytes(data)
    assert checkpoints.read(folder)


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = save(tmp_path, 5, 0.25)
    assert checkpoints.find_damage(folder) == []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for index in range(0, len(data), 3):
            flip_bit(path, index)
            damage = checkpoints.find_damage(folder)
            # A changed blank between the fields of the marker changes nothing that it says.
            is_blank = path.name == checkpoints.MARKER and data[index : index + 1] in b" \n"
            assert damage == [path.name] or (is_blank and not damage), (path.name, index)
            path.write_bytes(data)
    flip_bit(folder / "optimizer.pt")
    assert checkpoints.read(folder), "lists compare sizes only"
    assert checkpoints.find_damage(folder, checkpoints.is_weights) == []


def test_marker_with_fields_of_a_later_version_counts(tmp_path: Path) -> None:
    folder = save(tmp_path, 5, 0.25)
    marker = json.loads((folder / checkpoints.MARKER).read_text()) | {"later": 1}
    marker["seal"] = checkpoints.compute_seal(marker)
    (folder / checkpoints.MARKER).write_text(json.dumps(marker))
    assert checkpoints.find_damage(folder) == []


def test_damaged_checkpoint_is_set_aside_and_counts_nowhere(tmp_path: Path) -> None:
    for step, loss in ((5, 0.3), (10, 0.2), (15, 0.25)):
        save(tmp_path, step, loss)
    for step in (15, 10):
        flip_bit(tmp_path / f"checkpoint-{step}" / "optimizer.pt")
    newest, damaged = checkpoints.find_newest_sound(tmp_path)
    assert newest and newest.step == 5
    assert damaged == {"checkpoint-15": ["optimizer.pt"], "checkpoint-10": ["optimizer.pt"]}
    checkpoint_rotation.set_aside(tmp_path, damaged)
    save(tmp_path, 10, 0.2)
    flip_bit(tmp_path / "checkpoint-10" / "adapter_model.safetensors")
    best, worse = checkpoint_rotation.choose_best(tmp_path)
    assert best and best.step == 5 and worse == {"checkpoint-10": ["adapter_model.safetensors"]}
    save(tmp_path, 20)
    assert checkpoint_rotation.rotate(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-20", "checkpoint-5",
        "damaged-checkpoint-10", "damaged-checkpoint-10.2", "damaged-checkpoint-15",
    ]  # fmt: skip


def test_checkpoint_with_a_wrong_header_is_not_complete(tmp_path: Path) -> None:
    folder = save(tmp_path, 5, marked=False)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"[0, 16]", b"[0, 17]"))
    checkpoint_rotation.mark_complete(folder, step=5, attempt=1)
    assert checkpoints.read(folder) is None


def test_renamed_checkpoint_is_not_complete(tmp_path: Path) -> None:
    save(tmp_path, 5).rename(tmp_path / "checkpoint-6")
    assert checkpoints.all_complete(tmp_path) == []


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(losses=st.lists(st.none() | st.floats(0, 9), min_size=1, max_size=6))
def test_rotation_keeps_the_best_and_the_newest(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float | None]
) -> None:
    root = tmp_path_factory.mktemp("rotate")
    for step, loss in enumerate(losses, 1):
        save(root, step, loss)
        checkpoint_rotation.rotate(root)
    left = checkpoints.all_complete(root)
    assert left[-1].step == len(losses)
    measured = [(loss, step) for step, loss in enumerate(losses, 1) if loss is not None]
    if measured:
        best = checkpoints.find_best(left)
        assert best and (best.eval_loss, best.step) == min(measured)
    assert len(left) <= 2


def test_torn_checkpoints_are_moved_aside_until_removed(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10, marked=False)
    assert checkpoint_rotation.move_torn(tmp_path) == ["checkpoint-10"]
    save(tmp_path, 10, marked=False)
    assert checkpoint_rotation.move_torn(tmp_path) == ["checkpoint-10"]
    assert len(list((tmp_path / "torn").iterdir())) == 2
    assert [c.step for c in checkpoints.all_complete(tmp_path)] == [5]
    checkpoint_rotation.remove_torn(tmp_path)
    assert not (tmp_path / "torn").exists()


def test_rotation_leaves_torn_checkpoints_alone(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10, marked=False)
    assert checkpoint_rotation.rotate(tmp_path) == []
    assert (tmp_path / "checkpoint-10").exists()
