"""GGUF files that are cut: named by their own table of tensors, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.export import gguf_file


def write(path: Path) -> Path:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    for name in ("a", "b"):
        writer.add_tensor(name, np.zeros((64, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_whole_file_is_read(tmp_path: Path) -> None:
    facts = gguf_file.read_facts(write(tmp_path / "model.gguf"), None)
    assert (facts.architecture, facts.tensors) == ("llama", 2)


@pytest.mark.parametrize(
    ("length", "problem"),
    [
        (-100, "the file is cut: it has .* of .* bytes"),
        (-10_000, "the file is cut: it has .* of .* bytes"),
        (90, "its header is cut or damaged"),
    ],
)
def test_cut_file_is_named(tmp_path: Path, length: int, problem: str) -> None:
    path = write(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FtwizardError, match=problem):
        gguf_file.read_facts(path, None)
