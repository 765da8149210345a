"""The ``serve`` command before its server starts: what it serves, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ftwizard.cli import serve
from ftwizard.errors import USAGE, FtwizardError, MissingExtra
from ftwizard.hardware import machine
from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.runs.exports import ExportRecord
from ftwizard.runs.result import MergedModel
from tests.helpers.results import make_run_result


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path / "run")
    job.path.mkdir()
    return job


def make_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def make_export(folder: JobFolder, name: str, hashes: dict[str, str]) -> Path:
    file = make_file(folder.exports / name / "model.gguf")
    file.write_bytes(b"x")
    record = ExportRecord(
        form="gguf", source="", source_hashes=hashes, files={file.name: 1}, version="1", created=0.0,
        seconds=1.0,
    )  # fmt: skip
    write_json(file.parent / "export.json", record)
    return file


def test_newest_gguf_file_is_served_where_llama_cpp_is_installed(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FtwizardError, match="no merged model to serve") as caught:
        serve._choose_weights(folder, None)
    assert "ftwizard merge run" in caught.value.hint
    make_file(folder.merged / "model.safetensors")
    hashes = {"model.safetensors": "new"}
    merged = MergedModel(folder="", size_bytes=1, dtype="bfloat16", hashes=hashes)
    folder.attempt(1).parent.mkdir()
    write_json(folder.attempt(1), Attempt(number=1, started=0.0, host="here", argv=[]))
    write_json(folder.result, make_run_result(merged=merged))
    old, new = (make_export(folder, name, hashes) for name in ("b", "a"))
    os.utime(old, (1, 1))
    other = make_export(folder, "of-another-merge", {"model.safetensors": "old"})
    os.utime(other, (2e9, 2e9))
    for has_llama, chosen in ((True, new), (False, folder.merged)):
        monkeypatch.setattr(machine, "is_installed", lambda name, has_llama=has_llama: has_llama)
        assert serve._choose_weights(folder, None) == chosen


def test_file_to_serve_must_be_a_gguf_file_that_can_be_served(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FtwizardError, match="does not exist"):
        serve._choose_weights(folder, str(folder.path / "x.gguf"))
    with pytest.raises(FtwizardError, match="is not a GGUF file") as caught:
        serve._choose_weights(folder, str(make_file(folder.path / "x.bin")))
    assert caught.value.exit_code == USAGE
    file = make_file(folder.path / "x.gguf")
    monkeypatch.setattr(machine, "is_installed", lambda name: False)
    with pytest.raises(MissingExtra):
        serve._choose_weights(folder, str(file))
    monkeypatch.setattr(machine, "is_installed", lambda name: True)
    assert serve._choose_weights(folder, str(file)) == file


def test_key_is_private_and_stays_the_same() -> None:
    file = serve._make_key()
    key = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600 and len(key.strip()) == 43
    assert serve._make_key().read_text() == key
    file.chmod(0o644)
    assert serve._make_key().read_text() != key, "others may have read it"
