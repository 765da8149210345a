"""GGUF files of a small trained model: healthy ones pass, and each defect that is made is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftwizard.export import converter, gguf_file, tools
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import custody
from ftwizard.runs.result import read_trained
from ftwizard.serve import chain, probes
from tests.helpers import training

pytestmark = pytest.mark.slow
THE, AND, END = "Ġthe", "Ġand", b"<|im_end|>"


@pytest.fixture(scope="module")
def run(small: Path, model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """Return a run of a small model with SmolLM2's tokenizer, and its GGUF files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTWIZARD_CACHE", str(model_cache))
        folder = training.train(
            tmp_path_factory.mktemp("gguf"), "run", model=small, training=24, epochs=4,
            samples={"count": 0}, learning_rate=1e-2, more={"finish": {"merge": True}},
        )  # fmt: skip
        trained = read_trained(folder)
        assert trained
        wheel = converter.find()
        for name, model in (("tuned", folder.merged), ("base", small)):
            converter.convert(model, folder.path / f"{name}.gguf", "bf16", wheel, lambda: None)
    half, q8_0 = (folder.path / f"{name}.gguf" for name in ("tuned", "q8_0"))
    tools.run("cyllama", "quantize", half, q8_0, "7", "1")
    return folder


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBES", 8)
    build = chain._Chain._build_reference

    def build_once(self: Any) -> Any:
        if not _references:
            _references.append(build(self))
        return _references[0]

    monkeypatch.setattr(chain._Chain, "_build_reference", build_once)


_references: list[Any] = []


def verify(run: JobFolder, file: Path) -> custody.Hop:
    result = chain.verify(run, gguf=file, say=lambda *_, **__: None)
    merged, hop = result.hops
    assert merged.ok and (hop.source, hop.target) == ("merged", file.name)
    return hop


def test_healthy_files_pass(run: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    half = verify(run, run.path / "tuned.gguf")
    assert half.ok and half.token_ids_equal and half.stops, half
    assert half.nmse is not None and half.nmse < 1e-3
    quantized = verify(run, run.path / "q8_0.gguf")
    assert quantized.ok and quantized.kl is not None and quantized.kl < 0.05, quantized
    monkeypatch.setattr(machine, "is_installed", lambda name: name != "cyllama")
    hop = verify(run, run.path / "tuned.gguf")
    assert (hop.ok, hop.cause) == (None, "not_measured")


def test_base_under_the_tuned_name_is_named(run: JobFolder) -> None:
    hop = verify(run, run.path / "base.gguf")
    assert (hop.ok, hop.cause) == (False, "base_served"), hop


def swap_tokens(file: Path) -> None:
    import gguf

    field = gguf.GGUFReader(file, "r+").fields["tokenizer.ggml.tokens"]
    names = {bytes(field.parts[part]).decode(): field.parts[part] for part in field.data}
    first, second = names[THE].copy(), names[AND].copy()
    names[THE][:], names[AND][:] = second, first


def change_template(file: Path) -> None:
    replace_bytes(file, b"assistant\n' }}", b"assistant:' }}")


def rename_end(file: Path) -> None:
    """Hide the end of turn from llama.cpp, which knows it by its name, and end at another token."""
    replace_bytes(file, END, b"<|im_fin|>")
    gguf_file.set_eos(file, 5)


def replace_bytes(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    new = new.ljust(len(old))
    assert old in data and len(new) == len(old)
    file.write_bytes(data.replace(old, new))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1_000_000])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (swap_tokens, "tokenizer"),
        (change_template, "template"),
        (rename_end, "stop_token"),
        (cut, "unreadable"),
    ],
)
def test_defect_of_a_file_is_named(
    run: JobFolder, tmp_path: Path, change: Callable[[Path], None], cause: str
) -> None:
    file = tmp_path / "changed.gguf"
    shutil.copyfile(run.path / "tuned.gguf", file)
    change(file)
    hop = verify(run, file)
    assert (hop.ok, hop.cause) == (False, cause), hop
    text = custody.describe_cause(hop)
    assert change is not cut or "changed.gguf cannot be loaded: the file is cut: it has" in text
