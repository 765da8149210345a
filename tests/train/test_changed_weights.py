"""A base model whose weights changed since a run began, with the same size, header and date."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.runs.result import read_trained
from ftwizard.train import launcher
from tests.helpers import training
from tests.helpers.checkpoints import flip_bit
from tests.helpers.jobs import events


@pytest.fixture
def run(tmp_path: Path) -> JobFolder:
    """Return a finished run, with the hashes that the launcher records."""
    folder = training.train(tmp_path, "run")
    plan = plan_file.load(folder.plan, begun=True)
    source = hub.locate(plan.model.name)
    hashes = launcher.hash_data(plan) | {
        "model": source.fingerprint, "template": hub.template_hash(Path(source.name)),
    }  # fmt: skip
    write_json(folder.job, msgspec.structs.replace(folder.read_job(), hashes=hashes))
    launcher.refuse_changes(folder, plan)
    return folder


@pytest.fixture
def changed(run: JobFolder) -> Iterator[Path]:
    trained = read_trained(run)
    assert trained
    file = Path(trained.base) / "model.safetensors"
    before = file.stat()
    flip_bit(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    yield file


def test_resume_and_branch_are_refused(run: JobFolder, changed: Path) -> None:
    plan = plan_file.load(run.plan, begun=True)
    with pytest.raises(FtwizardError) as caught:
        launcher.refuse_changes(run, plan)
    assert f"The base weights {changed} changed since run run started." in caught.value.message
    assert "A resumed run would mix both" in caught.value.hint
    flip_bit(changed)
    launcher.refuse_changes(run, plan)


def test_worker_refuses_to_train_on(run: JobFolder, changed: Path) -> None:
    run.trained.unlink()
    shutil.rmtree(run.checkpoints)
    write_json(run.attempt(2), Attempt(number=2, started=0, host="", argv=[]))
    with pytest.raises(FtwizardError, match="changed since run run started"):
        training.again(run)
    assert not [e for e in events(run, "log") if e["attempt"] == 2]


def test_finish_does_not_merge_with_another_base(run: JobFolder, changed: Path) -> None:
    plan = plan_file.load(run.plan, begun=True)
    merging = msgspec.structs.replace(plan, finish=msgspec.structs.replace(plan.finish, merge=True))
    attempt = Attempt(number=2, started=0, host="", argv=[], plan=msgspec.to_builtins(merging))
    write_json(run.attempt(2), attempt)
    with pytest.raises(FtwizardError) as caught:
        training.again(run)
    assert caught.value.hint == "Restore the old files, then: ftwizard resume run"
    assert not run.merged.exists()
    flip_bit(changed)
    training.again(run)
    assert run.merged.exists()
