"""Checks of free disk space before a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.catalog import model_configs
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder
from ftwizard.models.architectures import build_shape
from ftwizard.plan import plan_file
from ftwizard.train import inputs

MINIMAL = "data: {files: {train: a}}\nmodel: {name: b/c}\n"
WEIGHTS = 1_000_000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a model folder with a million weights in the headers of two files."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name, shape in (("a", [600, 1000]), ("b", [400_000])):
        header = json.dumps({
            "__metadata__": {"format": "pt"},
            "w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 1]},
        }).encode()  # fmt: skip
        (folder / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


@pytest.mark.parametrize(
    ("more", "each", "tokenizers"),
    [
        ("", 2, 5),
        ("recipe: {method: qlora}", 2, 5),
        ("finish: {merge: false}", 0, 4),
        ("recipe: {method: full}", 38, 4),
        ("recipe: {method: full}\nfinish: {merge: false}", 38, 4),
    ],
)
def test_run_is_refused_when_disk_space_is_short(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    each: int,
    tokenizers: int,
) -> None:
    chosen = plan_file.parse(f"{MINIMAL}{more}\n")
    folder = JobFolder(tmp_path / "run")
    needed = each * WEIGHTS + tokenizers * disk.TOKENIZER_BYTES
    monkeypatch.setattr(machine, "get_free_bytes", lambda path: needed)
    inputs.check_disk(folder, chosen, base)
    monkeypatch.setattr(machine, "get_free_bytes", lambda path: needed - 1)
    with pytest.raises(FtwizardError, match=r"This run needs about .* are free at"):
        inputs.check_disk(folder, chosen, base)
    # A resumed run has already written some of its files.
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "x").write_bytes(b"1")
    inputs.check_disk(folder, chosen, base)
    monkeypatch.setattr(machine, "get_free_bytes", lambda path: needed - 2)
    with pytest.raises(FtwizardError, match="and has written 1 B, but") as error:
        inputs.check_disk(folder, chosen, base)
    assert "FTWIZARD_HOME" in error.value.hint


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("openai/gpt-oss-20b", 13.8), ("unsloth/gpt-oss-20b-BF16", 41.8), ("Qwen/Qwen3-8B", 16.4)],
)
def test_download_size_follows_the_stored_precision(name: str, gigabytes: float) -> None:
    config = model_configs.find_config(name)
    assert config is not None
    shape = build_shape(config.config, name)
    parts = disk.estimate_parts(
        trained=1, parameters=shape.parameters, adapter=True, merges=True, download=None,
        stored=disk.estimate_file_size(config.config, shape),
    )  # fmt: skip
    assert round(parts["download"].value / 1e9, 1) == gigabytes
    assert round(parts["merged"].value / 1e9) == round(shape.parameters * 2 / 1e9)
    assert ("MXFP4" in parts["download"].source) == (gigabytes == 13.8)
