"""Deletion of runs: sizes, refusals and interrupted removals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import lock, rescue
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import delete, store
from tests.screens.runs_helpers import living, make_run


def add_parts(folder: JobFolder) -> JobFolder:
    for name, count in (("checkpoints/checkpoint-10", 40_000), ("adapter", 20_000)):
        (folder.path / name).mkdir(parents=True)
        (folder.path / name / "weights").write_bytes(os.urandom(count))
    return folder


def test_sizes_are_measured_per_part(home: Path) -> None:
    folder = add_parts(make_run(home, "one"))
    sizes = delete.measure_sizes(folder)
    assert 40_000 <= sizes["checkpoints"] < 60_000
    assert 20_000 <= sizes["adapter"] < 40_000
    assert sizes["merged"] == sizes["export"] == 0
    assert sizes["total"] == sizes["checkpoints"] + sizes["adapter"] + sizes["rest"]
    assert delete.format_sizes(sizes).endswith("kB)")


def test_hard_links_count_once_and_symlinks_not_at_all(home: Path) -> None:
    folder = add_parts(make_run(home, "one"))
    before = delete.measure_sizes(folder)["total"]
    os.link(folder.adapter / "weights", folder.path / "again")
    (folder.path / "elsewhere").symlink_to("/usr")
    assert delete.measure_sizes(folder)["total"] == before


def test_remove_deletes_the_whole_run(home: Path) -> None:
    folder, other = add_parts(make_run(home, "one")), make_run(home, "two")
    delete.remove(folder)
    assert [run.id for run in store.list_runs()] == ["two"]
    assert list((home / "runs").iterdir()) == [other.path]


def test_remove_deletes_what_the_run_has_on_another_disk(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    folder = make_run(home, "one")
    rescued = rescue.save(folder.read_job(), lambda other: other.checkpoints.mkdir())
    assert rescued and rescued.checkpoints.is_relative_to(tmp_path / "cache")
    delete.remove(folder)
    assert not rescued.path.exists()


@pytest.mark.parametrize("only_checkpoints", [False, True])
def test_active_run_is_not_deleted(home: Path, only_checkpoints: bool) -> None:
    folder = add_parts(make_run(home, "one"))
    before = sorted(folder.path.rglob("*"))
    with living(folder), pytest.raises(FtwizardError, match="not ended") as caught:
        (delete.remove_checkpoints if only_checkpoints else delete.remove)(folder)
    assert "ftwizard stop one" in caught.value.hint
    assert [path for path in sorted(folder.path.rglob("*")) if path.name != "lock"] == [
        path for path in before if path.name != "lock"
    ]


def test_run_with_active_jobs_is_not_deleted(home: Path) -> None:
    folder = make_run(home, "one")
    job = folder.path / "jobs" / "1-merge"
    job.mkdir(parents=True)
    descriptor = lock.take_exclusive(job / "lock")
    assert descriptor is not None
    with pytest.raises(FtwizardError, match="not ended"):
        delete.remove(folder)
    os.close(descriptor)
    delete.remove(folder)
    assert not folder.path.exists()


def test_remove_checkpoints_keeps_run_and_adapter(home: Path) -> None:
    folder = add_parts(make_run(home, "one"))
    delete.remove_checkpoints(folder)
    assert not folder.checkpoints.exists()
    assert (folder.adapter / "weights").exists()
    assert store.read_status(folder).end_reason == "finished"
    assert not list(folder.path.glob(".removed*"))
    delete.remove_checkpoints(folder)  # a run without checkpoints


def test_interrupted_removal_leaves_no_partial_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add_parts(make_run(home, "one"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            delete.remove(folder)
    assert store.list_runs() == []
    assert len(list((home / "runs").iterdir())) == 1, "the rest has a hidden name"
    delete.remove(make_run(home, "two"))
    assert list((home / "runs").iterdir()) == [], "the next removal deletes the rest"


def test_remove_deletes_a_symlinked_folder_and_its_target(home: Path, tmp_path: Path) -> None:
    folder = make_run(home, "one")
    folder.path.rename(tmp_path / "large-disk")
    folder.path.symlink_to(tmp_path / "large-disk")
    delete.remove(folder)
    assert not (tmp_path / "large-disk").exists()
    assert list((home / "runs").iterdir()) == []


def test_child_run_stays_readable_without_its_parent(home: Path) -> None:
    parent, child = make_run(home, "parent"), make_run(home, "child")
    job = json.loads(child.job.read_text())
    job["parent"] = {"id": "parent", "step": 10, "changes": {}}
    child.job.write_text(json.dumps(job))
    assert delete.list_children(parent) == ["child"]
    delete.remove(parent)
    assert store.read_status(child).end_reason == "finished"
    assert child.read_job().kind == "train"
    parent_record = child.read_job().parent
    assert parent_record is not None and parent_record.id == "parent"
