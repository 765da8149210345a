"""Search for models on the Hub, against a fake one: facts, failures and time limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.models import hub_models, model_config
from tests.doubles import hub_models as double
from tests.doubles.hub_models import ModelHub, describe_model


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    """A reachable Hub with one model and an empty cache."""
    with double.serve(describe_model("acme/Tiny-Chat-0.5B")) as hub:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        yield hub


def test_result_has_the_facts_of_the_hub(online: ModelHub) -> None:
    (model,), state = hub_models.search_hub("tiny-chat")
    assert state == "searched"
    assert (model.name, model.origin, model.downloaded) == ("acme/Tiny-Chat-0.5B", "hub", False)
    assert (model.parameters, model.license, model.gated) == (500_000_000, "apache-2.0", False)
    assert model.chat_template is True and model.as_of is not None


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_gated_model_is_marked_however_access_is_granted(online: ModelHub, gated: str) -> None:
    online.models = [describe_model("acme/Gated", gated=gated)]
    assert hub_models.search_hub("gated")[0][0].gated is True


def test_facts_that_the_hub_does_not_state_are_unknown(online: ModelHub) -> None:
    online.models = [{"id": "acme/Bare"}]
    model = hub_models.search_hub("bare")[0][0]
    facts = (model.parameters, model.license, model.gated, model.chat_template)
    assert facts == (None, None, None, None)


@pytest.mark.parametrize(
    "result",
    [
        {"id": "acme/\x1b[31mred", "tags": []},
        {"id": 7},
        {"id": "acme/x", "tags": "license:mit", "safetensors": [1], "config": "c", "gated": None},
        {"id": "acme/x", "safetensors": {"total": -1}, "tags": ["license:\x1b]52;c;x\x07"]},
        {"id": "acme/x", "config": {"tokenizer_config": 3}},
    ],
)
def test_hostile_answer_is_never_shown_nor_raises(online: ModelHub, result: dict[str, Any]) -> None:
    online.models = [result]
    models, state = hub_models.search_hub("acme" if result["id"] != 7 else "777")
    assert state == "searched"
    for model in models:
        assert model.name == "acme/x"
        assert (model.parameters, model.license, model.chat_template) == (None, None, None)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_failing_hub_is_not_reachable(online: ModelHub, status: int) -> None:
    online.status = status
    assert hub_models.search_hub("tiny") == ((), "unreachable")


def test_failing_hub_is_asked_once_and_prints_nothing(
    online: ModelHub, capfd: pytest.CaptureFixture[str]
) -> None:
    online.status = 503
    hub_models.search_hub("tiny")
    assert online.searches == ["tiny"] and capfd.readouterr() == ("", "")


def test_hanging_hub_is_given_up_in_time(online: ModelHub) -> None:
    online.released.clear()
    began = time.monotonic()
    assert hub_models.search_hub("tiny", timeout_s=0.5)[1] == "unreachable"
    assert time.monotonic() - began < 10
    online.released.set()


def test_offline_mode_asks_nothing(online: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_models.search_hub("tiny") == ((), "offline")
    assert not hub_models.fetch_config("acme/Tiny-Chat-0.5B")
    assert not online.searches


@pytest.mark.parametrize("words", ["", "  ", "ab"])
def test_short_search_asks_nothing(online: ModelHub, words: str) -> None:
    assert hub_models.search_hub(words) == ((), "not asked")
    assert not online.searches


def test_missing_library_is_named(online: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_models, "is_installed", lambda name: False)
    assert hub_models.search_hub("tiny") == ((), "missing")


def test_fetched_config_gives_the_shape_before_any_weights(online: ModelHub) -> None:
    assert model_config.read_shape("acme/Tiny-Chat-0.5B") is None
    assert hub_models.fetch_config("acme/Tiny-Chat-0.5B")
    shape = model_config.read_shape("acme/Tiny-Chat-0.5B")
    assert shape is not None and shape.layers == 24
    assert not hub_models.fetch_config("acme/missing")


def test_gated_and_broken_configs_are_left_unknown(online: ModelHub) -> None:
    online.models = [
        describe_model("acme/Fine-Chat"),
        describe_model("acme/Gated-Chat", gated="manual"),
        describe_model("acme/Broken-Chat", config_json=[1]),
    ]
    fine, gated, broken = hub_models.add_configs(hub_models.search_hub("chat")[0])
    assert fine.config is not None and "hidden_size" in fine.config
    for model in (gated, broken):
        assert model.config is not None and "hidden_size" not in model.config


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b", "a/b/c", ""])
def test_fetched_config_stays_in_the_cache(online: ModelHub, name: str) -> None:
    assert not hub_models.fetch_config(name)
    assert not model_config.save_fetched(name, b"{}")


def test_hub_is_reachable_if_it_accepts_a_connection(
    online: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", online.url)
    assert hub_models.is_reachable()
    for away in ("http://127.0.0.1:9", "http://127.0.0.1:99999", "https://", "http://[::x"):
        monkeypatch.setenv("HF_ENDPOINT", away)
        assert not hub_models.is_reachable(0.5), away
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert hub_models.is_reachable(), "a proxy may know the way"
