"""A run that will not fit on its disk is refused before it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard import machine, plan
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk
from ftwizard.jobs.folder import JobFolder
from ftwizard.train import room

MINIMAL = "data: {files: {train: a}}\nmodel: {name: b/c}\n"
WEIGHTS = 1_000_000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a model of a million weights in two files, as far as their headers go."""
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
def test_what_is_written_must_fit(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    each: int,
    tokenizers: int,
) -> None:
    chosen = plan.parse(f"{MINIMAL}{more}\n")
    folder = JobFolder(tmp_path / "run")
    needed = each * WEIGHTS + tokenizers * disk.TOKENIZER_BYTES
    monkeypatch.setattr(machine, "free_bytes", lambda path: needed)
    room.check(folder, chosen, base)
    monkeypatch.setattr(machine, "free_bytes", lambda path: needed - 1)
    with pytest.raises(FtwizardError, match=r"up to .* of weights still to write"):
        room.check(folder, chosen, base)
    # A resumed run has written part of it.
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "x").write_bytes(b"1")
    room.check(folder, chosen, base)
