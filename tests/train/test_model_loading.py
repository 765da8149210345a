"""Model loading without custom code and without prompts."""

from __future__ import annotations

import ast
import builtins
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import ftwizard
from ftwizard.errors import FtwizardError
from ftwizard.train import model_loading
from tests.helpers.models import make_tiny


@pytest.fixture(scope="module")
def known_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with a known architecture."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def no_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> NoReturn:
        raise AssertionError("input() was called")

    monkeypatch.setattr(builtins, "input", ask)


def copy_with(known_model: Path, folder: Path, name: str, **settings: Any) -> Path:
    """Return a copy of the model with other ``settings`` in its file ``name``."""
    folder.mkdir()
    for file in known_model.iterdir():
        (folder / file.name).symlink_to(file)
    before = json.loads((known_model / name).read_text())
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(before | settings))
    (folder / "mystery.py").write_text("raise SystemExit('code of a model was run')")
    return folder


CODE = {name: f"mystery.{name}" for name in ("AutoConfig", "AutoModelForCausalLM")}


@pytest.mark.parametrize(
    "load",
    [
        model_loading.load_config,
        model_loading.without_weights,
        lambda base: model_loading.load_model(base, "fp32"),
        lambda base: model_loading.load_to_train(base, "lora", "fp32"),
    ],
)
def test_model_with_custom_code_is_refused(
    known_model: Path, tmp_path: Path, load: Callable[[Path], Any]
) -> None:
    base = copy_with(
        known_model, tmp_path / "m", "config.json", model_type="mystery", auto_map=CODE
    )
    with pytest.raises(FtwizardError, match="needs custom code") as error:
        load(base)
    assert "without custom code" in error.value.hint


def test_custom_code_of_a_known_model_is_not_run(known_model: Path, tmp_path: Path) -> None:
    base = copy_with(known_model, tmp_path / "m", "config.json", auto_map=CODE)
    assert type(model_loading.load_model(base, "fp32")).__name__ == "LlamaForCausalLM"
    assert model_loading.load_tokenizer(base)("a")["input_ids"]


def test_tokenizer_with_custom_code_is_refused(known_model: Path, tmp_path: Path) -> None:
    base = copy_with(
        known_model, tmp_path / "m", "tokenizer_config.json", tokenizer_class="Mystery",
        auto_map={"AutoTokenizer": ["mystery.Mystery", None]},
    )  # fmt: skip
    (base / "config.json").unlink()
    (base / "config.json").write_text('{"model_type": "mystery"}')
    with pytest.raises(FtwizardError, match=r"The tokenizer in .* needs custom code"):
        model_loading.load_tokenizer(base)


def test_unknown_model_type_raises_a_clear_error(known_model: Path, tmp_path: Path) -> None:
    base = copy_with(known_model, tmp_path / "m", "config.json", model_type="mystery")
    with pytest.raises(FtwizardError, match=r"could not be loaded: .*mystery"):
        model_loading.load_config(base)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "t5"])
def test_encoder_is_refused_as_not_causal(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(FtwizardError) as error:
        model_loading.without_weights(tmp_path)
    assert "causal language model" in error.value.hint


def test_bert_configured_as_a_decoder_is_accepted(tmp_path: Path) -> None:
    config = {"model_type": "bert", "is_decoder": True, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(model_loading.without_weights(tmp_path)).__name__ == "BertLMHeadModel"


def test_every_load_passes_trust_remote_code_false() -> None:
    """Without it, transformers asks on standard input."""
    result = 0
    for path in Path(str(ftwizard.__file__)).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            owner = ast.unparse(call.func.value).lower()
            if call.func.attr not in ("from_pretrained", "from_config") or "auto" not in owner:
                continue
            trusts = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert trusts.get("trust_remote_code") == "False", f"{path}, line {call.lineno}"
            result += 1
    assert result >= 6


def test_libraries_are_imported_without_collections() -> None:
    with pytest.raises(ValueError, match="inside"), model_loading.importing():
        assert not gc.isenabled()
        raise ValueError("inside")
    assert gc.isenabled()


def test_collections_leave_out_the_libraries_of_the_trainer() -> None:
    frozen = gc.get_freeze_count()
    model_loading.import_trainer()
    assert gc.get_freeze_count() > frozen and gc.isenabled()
    gc.unfreeze()
