"""Runs off the disk: sizes, refusals, and no half of a run whenever the removal is killed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import lock
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import delete, store
from tests.screens.runs_helpers import living, make_run


def with_parts(folder: JobFolder) -> JobFolder:
    for name, count in (("checkpoints/checkpoint-10", 40_000), ("adapter", 20_000)):
        (folder.path / name).mkdir(parents=True)
        (folder.path / name / "weights").write_bytes(os.urandom(count))
    return folder


def test_sizes_are_counted_by_part(home: Path) -> None:
    folder = with_parts(make_run(home, "one"))
    sizes = delete.measure_sizes(folder)
    assert 40_000 <= sizes["checkpoints"] < 60_000
    assert 20_000 <= sizes["adapter"] < 40_000
    assert sizes["merged"] == sizes["export"] == 0
    assert sizes["total"] == sizes["checkpoints"] + sizes["adapter"] + sizes["rest"]
    assert delete.format_sizes(sizes).endswith("kB)")


def test_a_file_of_two_names_counts_once_and_nothing_behind_a_link(home: Path) -> None:
    folder = with_parts(make_run(home, "one"))
    before = delete.measure_sizes(folder)["total"]
    os.link(folder.adapter / "weights", folder.path / "again")
    (folder.path / "elsewhere").symlink_to("/usr")
    assert delete.measure_sizes(folder)["total"] == before


def test_a_run_goes_whole(home: Path) -> None:
    folder, other = with_parts(make_run(home, "one")), make_run(home, "two")
    delete.remove(folder)
    assert [run.id for run in store.list_runs()] == ["two"]
    assert list((home / "runs").iterdir()) == [other.path]


@pytest.mark.parametrize("only_checkpoints", [False, True])
def test_a_run_that_lives_stays(home: Path, only_checkpoints: bool) -> None:
    folder = with_parts(make_run(home, "one"))
    before = sorted(folder.path.rglob("*"))
    with living(folder), pytest.raises(FtwizardError, match="not ended") as caught:
        (delete.remove_checkpoints if only_checkpoints else delete.remove)(folder)
    assert "ftwizard stop one" in caught.value.hint
    assert [path for path in sorted(folder.path.rglob("*")) if path.name != "lock"] == [
        path for path in before if path.name != "lock"
    ]


def test_a_run_whose_own_jobs_live_stays(home: Path) -> None:
    folder = make_run(home, "one")
    job = folder.path / "jobs" / "1-merge"
    job.mkdir(parents=True)
    kept = lock.take_exclusive(job / "lock")
    assert kept is not None
    with pytest.raises(FtwizardError, match="not ended"):
        delete.remove(folder)
    os.close(kept)
    delete.remove(folder)
    assert not folder.path.exists()


def test_checkpoints_alone_go_and_what_was_made_stays(home: Path) -> None:
    folder = with_parts(make_run(home, "one"))
    delete.remove_checkpoints(folder)
    assert not folder.checkpoints.exists()
    assert (folder.adapter / "weights").exists()
    assert store.read_status(folder).end_reason == "finished"
    assert not list(folder.path.glob(".removed*"))
    delete.remove_checkpoints(folder)  # of a run that has none


def test_killed_in_the_middle_no_half_run_is_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_parts(make_run(home, "one"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            delete.remove(folder)
    assert store.list_runs() == []
    assert len(list((home / "runs").iterdir())) == 1, "what is left bears a hidden name"
    delete.remove(make_run(home, "two"))
    assert list((home / "runs").iterdir()) == [], "the next removal takes it away"


def test_a_folder_that_is_a_link_goes_with_what_it_leads_to(home: Path, tmp_path: Path) -> None:
    folder = make_run(home, "one")
    folder.path.rename(tmp_path / "large-disk")
    folder.path.symlink_to(tmp_path / "large-disk")
    delete.remove(folder)
    assert not (tmp_path / "large-disk").exists()
    assert list((home / "runs").iterdir()) == []


def test_a_child_stays_readable_when_its_parent_goes(home: Path) -> None:
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
