"""Weight files that were cut, are something else, or are missing; and healthy ones, which pass."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from ftwizard.errors import FtwizardError
from ftwizard.models import hub, weight_files

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 269060552\n"


def pack(header: dict[str, object] | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - begin) // 4], "data_offsets": [begin, end]}


HEALTHY = pack({"a": tensor(0, 8), "b": tensor(8, 16)}, bytes(16))
DAMAGED = {
    "empty": (b"", "is empty"),
    "five bytes": (HEALTHY[:5], "is not a safetensors file"),
    "pointer": (LFS, "is a Git LFS pointer, not the weights themselves"),
    "page": (b"<!doctype html><html>Sign in to continue</html>", "is not a safetensors file"),
    "cut": (HEALTHY[:-1], "is incomplete: 1 B of 147 B is missing"),
    "header cut": (HEALTHY[:40], "is incomplete: 91 B of 131 B is missing"),
    "longer": (HEALTHY + b"\0", "is damaged: it has 1 B more than its header lists"),
    "not JSON": (pack(b"{a: 1}"), "is damaged: its header is not valid"),
    "a list": (pack(b"[]"), "is damaged: its header is not valid"),
    "deep": (pack(b"[" * 100_000), "is damaged: its header is not valid"),
    "overlap": (pack({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "header is not valid"),
    "gap": (pack({"a": tensor(0, 8), "b": tensor(12, 16)}, bytes(16)), "header is not valid"),
    "backwards": (pack({"a": tensor(8, 0)}), "header is not valid"),
    "shape": (pack({"a": {**tensor(0, 8), "shape": [3]}}, bytes(8)), "header is not valid"),
    "claims more": (pack({"a": tensor(0, 4000)}, bytes(16)), "is incomplete: 4 kB of 4 kB"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_with_its_path_and_a_fix(tmp_path: Path, name: str) -> None:
    data, text = DAMAGED[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    for file in ("config.json", "tokenizer_config.json"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(FtwizardError) as caught:
        hub.locate(str(tmp_path))
    assert str(tmp_path / "model.safetensors") in caught.value.message
    assert text in caught.value.message
    assert ("git lfs pull" if name == "pointer" else "again") in caught.value.hint
    assert caught.value.exit_code == 1


def test_shard_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (tmp_path / weight_files.INDEX).write_text(json.dumps({"weight_map": shards}))
    (tmp_path / shards["a"]).write_bytes(HEALTHY)
    (tmp_path / "consolidated.safetensors").write_bytes(b"not loaded, so not checked")
    with pytest.raises(FtwizardError, match=r"model-2-of-2\.safetensors is missing"):
        weight_files.check_folder(tmp_path)
    (tmp_path / shards["b"]).write_bytes(HEALTHY[:-4])
    with pytest.raises(FtwizardError, match=r"model-2-of-2\.safetensors is incomplete"):
        weight_files.check_folder(tmp_path)
    (tmp_path / shards["b"]).write_bytes(HEALTHY)
    weight_files.check_folder(tmp_path)
    for broken in ('{"weight_map": {"a": 1}}', '{"weight_map": {}}', '{"weight', "[]"):
        (tmp_path / weight_files.INDEX).write_text(broken)
        with pytest.raises(FtwizardError, match="does not list the weight files"):
            weight_files.check_folder(tmp_path)


def test_healthy_files_pass(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    file = tmp_path / "w.safetensors"
    arrays: dict[str, Any] = {
        "empty": np.zeros((0, 4), np.float32), "scalar": np.array(1, np.int8),
        "also_empty": np.zeros(0, np.float16), "bits": np.ones((3, 5), bool),
        "half": np.ones((7, 2), np.float16), "long": np.arange(9),
    }  # fmt: skip
    for metadata in (None, {"format": "pt"}):
        save_file(arrays, file, metadata=metadata)
        assert weight_files.find_problem(file) is None
    file.write_bytes(pack({"__metadata__": {"format": "pt"}}))
    assert weight_files.find_problem(file) is None
    unknown: dict[str, object] = {"a": {"dtype": "F2_NEW", "shape": [9], "data_offsets": [0, 3]}}
    file.write_bytes(pack(unknown, bytes(3)))
    assert weight_files.find_problem(file) is None


def test_verdict_is_that_of_the_safetensors_library(tmp_path: Path) -> None:
    """Files cut and changed at random in their first bytes and header."""
    file, dice = tmp_path / "w.safetensors", random.Random(4)
    verdicts = set()
    for _ in range(3000):
        data = bytearray(HEALTHY)
        for _ in range(dice.choice((0, 1, 1, 2))):
            data[dice.choice((0, 1, dice.randrange(8, len(data) - 16)))] ^= 1 << dice.randrange(7)
        file.write_bytes(data[: dice.choice((len(data), len(data), dice.randrange(len(data))))])
        try:
            with safe_open(file, "np"):
                loads = True
        except (SafetensorError, OSError):
            loads = False
        # A type that is newer than this list cannot be judged, so it passes.
        is_new = data.count(b'"dtype": "F32"') < 2
        assert loads == (weight_files.find_problem(file) is None) or is_new, bytes(data)
        verdicts.add(loads)
    assert verdicts == {True, False}
