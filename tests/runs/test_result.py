"""The documents of a run's outcome: written and read by the same structs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.quantity import Figure
from ftwizard.runs import describe, result
from ftwizard.runs.exports import RECORD, ExportRecord
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.result import MergedModel, RunResult
from tests.helpers.results import make_run_result, make_trained

FULL = make_run_result(
    merged=MergedModel(folder="/merged", size_bytes=10, dtype="bfloat16"),
    predicted=RunFigures(seconds=Figure(value=9, unit="s", source="x")),
    error={"seconds": 0.1, "cost": None},
)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path)
    for path in (job.attempt(1).parent, job.evaluations):
        path.mkdir()
    write_json(job.attempt(1), Attempt(number=1, started=0.0, host="here", argv=[]))
    return job


def write_changed(path: Path, document: Any, place: str, value: Any) -> None:
    """Write a document with the value at ``place``, its keys joined by dots, replaced."""
    content = msgspec.to_builtins(document)
    *parents, key = place.split(".")
    part = content
    for name in parents:
        part = part[name]
    part[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("document", [FULL, make_run_result()], ids=["full", "least"])
def test_result_is_read_as_written(folder: JobFolder, document: RunResult) -> None:
    write_json(folder.result, document)
    assert result.read_result(folder) == document


def test_result_keys_in_file(folder: JobFolder) -> None:
    write_json(folder.result, FULL)
    content = json.loads(folder.result.read_text())
    assert list(content) == [
        "end_reason", "attempt", "training", "merged", "seconds", "predicted", "actual",
        "error",
    ]  # fmt: skip
    assert list(content["merged"]) == ["folder", "bytes", "dtype"]
    write_json(folder.result, make_run_result())
    assert "merged" not in json.loads(folder.result.read_text())


def test_unknown_keys_are_ignored(folder: JobFolder) -> None:
    write_changed(folder.result, FULL, "training.later", {"x": 1})
    assert result.read_result(folder) == FULL


def test_result_of_earlier_attempt_is_ignored(folder: JobFolder) -> None:
    write_json(folder.result, FULL)
    write_json(folder.attempt(2), Attempt(number=2, started=0.0, host="here", argv=[]))
    assert result.read_result(folder) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("training", None),
        ("training", {"step": 3}),
        ("training.step", "3"),
        ("training.rows", {"train_given": -1}),
        ("merged.bytes", -1),
        ("merged.bytes", 10**400),
        ("predicted.seconds.value", float("inf")),
        ("error", None),
    ],
)
def test_damaged_result_is_none(folder: JobFolder, place: str, value: Any) -> None:
    write_changed(folder.result, FULL, place, value)
    assert result.read_result(folder) is None


@pytest.mark.parametrize(
    ("place", "value"), [("predicted.seconds.value", -1), ("error.seconds", 1e308)]
)
def test_unsound_prediction_is_left_out(folder: JobFolder, place: str, value: float) -> None:
    write_changed(folder.result, FULL, place, value)
    document = result.read_result(folder)
    assert document and document.prediction is None
    assert describe.describe_result(folder, document)


def test_nan_loss_is_written_as_unknown(folder: JobFolder) -> None:
    write_json(folder.trained, make_trained(eval_loss=float("nan")))
    assert result.read_trained(folder) == make_trained(eval_loss=None)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"step": 3}', "[" * 100_000])
def test_damaged_files_are_none(folder: JobFolder, damage: str) -> None:
    for path in (folder.trained, folder.result):
        path.write_text(damage)
    assert result.read_trained(folder) is None
    assert result.read_result(folder) is None


def test_exports_are_listed_once_they_are_complete(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "run")
    for name, form in (("gguf", "gguf"), (".ollama.part", "ollama")):
        (folder.exports / name).mkdir(parents=True)
        record = ExportRecord(
            form=form, source="", source_hashes={}, files={"a.gguf": 3}, version="0", created=0,
            seconds=1,
        )  # fmt: skip
        write_json(folder.exports / name / RECORD, record)
    outcome = make_run_result(
        merged=MergedModel(folder=str(folder.merged), size_bytes=1, dtype="bfloat16")
    )
    assert "export" not in dict(describe.describe_result(folder, outcome))  # its file is missing
    (folder.exports / "gguf" / "a.gguf").write_bytes(b"abc")
    folder.card.write_text("# A card")
    rows = dict(describe.describe_result(folder, outcome))
    assert rows["card"] == str(folder.card)
    assert rows["export"] == f"{folder.exports / 'gguf'} (gguf)"
