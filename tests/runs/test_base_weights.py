"""Base weights that changed, moved or were touched since a run began; every fault is made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import base_weights
from tests.helpers.checkpoints import flip_bit

NAMES = ("model-1-of-2.safetensors", "model-2-of-2.safetensors")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    shards = {"a": NAMES[0], "b": NAMES[1]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in NAMES:
        (folder / name).write_bytes(os.urandom(3_000_000))
    return folder


@pytest.fixture
def run(tmp_path: Path, base: Path) -> JobFolder:
    """Return a run that has loaded and recorded its base weights."""
    folder = JobFolder(tmp_path / "run")
    folder.path.mkdir()
    base_weights.record_later(folder, base, base_weights.read_stamps(base))
    base_weights.wait()
    base_weights.require_unchanged(folder, base)
    return folder


def flip_quietly(file: Path) -> None:
    """Flip one bit in the middle; size and modification time stay."""
    before = file.stat()
    flip_bit(file, before.st_size // 2)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def swap(file: Path) -> None:
    """Replace a file by another of the same size, with its modification time."""
    before = file.stat()
    file.with_name("new").write_bytes(os.urandom(before.st_size))
    file.with_name("new").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(file: Path) -> None:
    os.truncate(file, 1000)


CHANGES: dict[str, Callable[[Path], None]] = {
    "flipped": flip_quietly, "swapped": swap, "cut": cut, "removed": Path.unlink,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_refused(run: JobFolder, base: Path, change: str) -> None:
    CHANGES[change](base / NAMES[1])
    for _ in range(2):  # a refusal must not record the new state
        with pytest.raises(FtwizardError) as caught:
            base_weights.require_unchanged(run, base, "Hint.")
        verb = "are gone" if change == "removed" else "changed"
        assert caught.value.message == (
            f"The base weights {base / NAMES[1]} {verb} since run run started."
        )
        assert caught.value.hint == "Hint."


def test_other_shards_are_a_change(run: JobFolder, base: Path) -> None:
    (base / NAMES[0]).rename(base / "model.safetensors")
    with pytest.raises(FtwizardError, match="changed since run run started"):
        base_weights.require_unchanged(run, base)


def test_same_content_is_read_again_once_after_a_touch_or_a_copy(
    run: JobFolder, base: Path, tmp_path: Path
) -> None:
    read: list[str] = []
    base_weights.require_unchanged(run, base, say=read.append)
    assert read == [], "nothing is read while nothing changed"
    os.utime(base / NAMES[0])
    base_weights.require_unchanged(run, base, say=read.append)
    assert read == [f"{NAMES[0]} (3 MB), which was replaced, moved or touched"]
    base_weights.require_unchanged(run, base, say=read.append)
    assert len(read) == 1
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    base_weights.require_unchanged(run, copy, say=read.append)
    base_weights.require_unchanged(run, copy, say=read.append)
    assert len(read) == 3
    flip_quietly(copy / NAMES[0])
    with pytest.raises(FtwizardError):
        base_weights.require_unchanged(run, copy)


def test_link_into_a_cache_is_followed(tmp_path: Path, base: Path) -> None:
    """The Hub's cache has links in its snapshots; what they mean is compared."""
    snapshot, folder = tmp_path / "snapshot", JobFolder(tmp_path / "linked")
    snapshot.mkdir()
    folder.path.mkdir()
    for file in base.iterdir():
        (snapshot / file.name).symlink_to(file)
    base_weights.record_later(folder, snapshot, base_weights.read_stamps(snapshot))
    base_weights.wait()
    base_weights.require_unchanged(folder, snapshot)
    flip_quietly(base / NAMES[0])
    with pytest.raises(FtwizardError):
        base_weights.require_unchanged(folder, snapshot)


def test_file_that_changes_while_it_is_loaded_has_no_hash(tmp_path: Path, base: Path) -> None:
    folder = JobFolder(tmp_path / "late")
    folder.path.mkdir()
    stamps = base_weights.read_stamps(base)
    flip_quietly(base / NAMES[0])
    base_weights.record_later(folder, base, stamps)
    base_weights.wait()
    with pytest.raises(FtwizardError, match="may have changed"):
        base_weights.require_unchanged(folder, base)
    assert base_weights.identify(folder) is None


def test_child_is_compared_with_the_weights_of_its_parent(
    run: JobFolder, base: Path, tmp_path: Path
) -> None:
    child = JobFolder(tmp_path / "child")
    child.path.mkdir()
    base_weights.copy_record(run, child)
    base_weights.require_unchanged(child, base)
    assert base_weights.identify(child) == base_weights.identify(run) is not None
    flip_quietly(base / NAMES[0])
    with pytest.raises(FtwizardError):
        base_weights.require_unchanged(child, base)
    base_weights.copy_record(JobFolder(tmp_path / "old"), child)


def test_run_of_an_earlier_version_is_not_compared(tmp_path: Path, base: Path) -> None:
    base_weights.require_unchanged(JobFolder(tmp_path / "old"), base)
