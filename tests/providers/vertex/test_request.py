"""The request of a job at Vertex AI, and what the SDK makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftwizard.plan.schema import Data, Files, Model, Plan, Vertex
from ftwizard.providers.vertex.models import get_model_id
from ftwizard.providers.vertex.request import build_config, build_request
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.providers.vertex.world import GEMINI, OPEN, TAG, World

FOLDER = f"gs://rows/ftwizard/{TAG}"


def build(model: str = GEMINI, *, validation: bool = True, **settings: Any) -> dict[str, Any]:
    plan = Plan(
        provider="vertex", data=Data(files=Files(train="t.jsonl")), model=Model(name=model),
        vertex=Vertex(**settings),
    )  # fmt: skip
    parts = ("train", "validation") if validation else ("train",)
    files = {
        part: RemoteFile(path="", name="", rows=1, size_bytes=1, id=f"{FOLDER}/{part}.jsonl")
        for part in parts
    }
    remote = RemoteJob(provider="vertex", tag=TAG, model=get_model_id(plan), files=files)
    return build_request(plan, remote, "demo-project", "us-central1")


def test_a_request_is_complete_and_can_be_written() -> None:
    request = build(adapter_size=16, learning_rate_multiplier=0.5, suffix="support")
    assert json.loads(json.dumps(request)) == request
    assert request == {
        "project": "demo-project",
        "location": "us-central1",
        "base_model": GEMINI,
        "training_dataset": f"{FOLDER}/train.jsonl",
        "validation_dataset": f"{FOLDER}/validation.jsonl",
        "method": "SUPERVISED_FINE_TUNING",
        "tuned_model_display_name": f"support-{TAG}",
        "labels": {"ftwizard-run": TAG},
        "epoch_count": 3,
        "export_last_checkpoint_only": True,
        "learning_rate_multiplier": 0.5,
        "adapter_size": "ADAPTER_SIZE_SIXTEEN",
    }


def test_the_epochs_are_always_sent_and_the_rest_is_left_to_google() -> None:
    request = build(validation=False)
    assert request["epoch_count"] == 3
    for name in ("adapter_size", "learning_rate_multiplier", "validation_dataset", "tuning_mode"):
        assert name not in request


def test_an_open_model_gets_its_own_settings_only() -> None:
    request = build(OPEN, learning_rate=1e-4, batch_size=8, adapter_size=32)
    assert request["base_model"] == "meta/llama3_1@llama-3.1-8b-instruct"
    assert request["tuning_mode"] == "TUNING_MODE_PEFT_ADAPTER"
    assert request["output_uri"] == f"{FOLDER}/out"
    assert request["learning_rate"] == 1e-4
    assert request["batch_size"] == 8
    assert request["adapter_size"] == "ADAPTER_SIZE_THIRTY_TWO"
    assert "export_last_checkpoint_only" not in request
    assert "learning_rate_multiplier" not in request


def test_a_model_without_adapters_is_tuned_in_full() -> None:
    request = build("qwen3-8b")
    assert request["tuning_mode"] == "TUNING_MODE_FULL"
    assert "adapter_size" not in request


def test_the_sdk_takes_a_request_and_refuses_an_unknown_setting() -> None:
    config = build_config(build(adapter_size=4))
    assert config.validation_dataset is not None
    assert config.validation_dataset.gcs_uri == f"{FOLDER}/validation.jsonl"
    assert config.validation_dataset_uri is None
    with pytest.raises(ValueError, match="warp"):
        build_config({**build(), "warp": 9})


def test_what_is_sent_has_one_specification(world: World) -> None:
    world.create(world.make_plan(adapter_size=4, learning_rate_multiplier=1.5))
    body = world.control.list_jobs()[0]["request"]
    assert [name for name in body if name.endswith("Spec")] == ["supervisedTuningSpec"]
    assert body["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": 3, "learningRateMultiplier": 1.5, "adapterSize": "ADAPTER_SIZE_FOUR",
    }  # fmt: skip
    assert body["labels"] == {"ftwizard-run": TAG}
