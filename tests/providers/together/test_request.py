"""The request of a job at Together, as the service gets it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ftwizard.plan.schema import Wandb
from tests.doubles.together_service import LLAMA
from tests.doubles.together_service import Model as TunableModel
from tests.providers.together.world import WANDB_KEY, MakeWorld, refused


def test_the_request_is_what_the_plan_says(make_world: MakeWorld) -> None:
    world = make_world()
    world.finish(
        lora_r=8, lora_alpha=8, lora_dropout=0.1, n_epochs=2, n_evals=5, batch_size=16, learning_rate=2e-4,
        lr_scheduler_type="linear", warmup_ratio=0.1, packing=False, max_seq_length=1024, random_seed=7,
        early_stopping_enabled=True, early_stopping_patience=3, train_on_inputs=False, suffix="legs",
    )  # fmt: skip
    (job,) = world.service.jobs.values()
    sent = job.request
    assert sent["training_type"] == {
        "type": "Lora", "lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.1,
        "lora_trainable_modules": "all-linear",
    }  # fmt: skip
    assert sent["training_method"] == {"method": "sft", "train_on_inputs": False}
    assert sent["lr_scheduler"] == {
        "lr_scheduler_type": "linear",
        "lr_scheduler_args": {"min_lr_ratio": 0.0},
    }
    assert (sent["n_epochs"], sent["n_evals"], sent["batch_size"]) == (2, 5, 16)
    assert (sent["early_stopping_enabled"], sent["early_stopping_patience"]) == (True, 3)
    assert (sent["random_seed"], sent["max_seq_length"], sent["packing"]) == (7, 1024, False)
    assert sent["suffix"].startswith("legs-") and len(sent["suffix"]) <= 40
    assert "wandb_key" not in sent


def test_full_and_preference_jobs(make_world: MakeWorld) -> None:
    world = make_world()
    plan = world.make_plan(training_method="dpo")
    assert world.platform.get_target(plan) == "together-dpo"
    assert world.platform.get_method(plan) == "preference"
    _, status = world.finish(training_method="dpo", lora=False, dpo_beta=0.2)
    (job,) = world.service.jobs.values()
    assert job.request["training_type"] == {"type": "Full"}
    assert job.request["training_method"]["dpo_beta"] == 0.2
    assert status.state == "succeeded"


def test_a_job_continues_from_a_checkpoint(make_world: MakeWorld) -> None:
    world = make_world()
    remote, first = world.finish()
    other = msgspec.structs.replace(remote, tag="run-2")
    world.create(other, from_checkpoint=f"{first.id}:10")
    job = list(world.service.jobs.values())[-1]
    assert job.request["from_checkpoint"] == f"{first.id}:10"
    assert "model" not in job.request and "training_type" not in job.request


def test_the_rank_is_the_models_own_by_default(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(max_rank=16, default_rank=8)})
    world.create()
    (job,) = world.service.jobs.values()
    assert job.request["training_type"]["lora_r"] == 8
    assert job.request["training_type"]["lora_alpha"] == 16


def test_the_key_of_wandb_is_only_sent(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    plan = world.make_plan(wandb=Wandb(project="legs", name="first"))
    request = world.platform.build_request(plan, remote)
    assert WANDB_KEY not in json.dumps(request)
    world.platform.create_job(request)
    (job,) = world.service.jobs.values()
    assert (job.request["wandb_key"], job.request["wandb_project_name"]) == (WANDB_KEY, "legs")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lora_r": 128}, "together.lora_r is 128; 1–64 is allowed"),
        ({"n_epochs": 50}, "together.n_epochs is 50; 1–20 is allowed"),
        ({"learning_rate": 0.5}, "together.learning_rate is 0.5"),
        ({"n_checkpoints": 99}, "together.n_checkpoints is 99"),
        ({"lora_trainable_modules": "q_proj,w_up"}, "has w_up; this model has k_proj"),
        ({"batch_size": 64}, "batch size of 64"),
        ({"batch_size": 2}, "batch size of 2"),
        ({"max_seq_length": 100_000}, "8192"),
    ],
)
def test_settings_outside_the_limits(
    make_world: MakeWorld, settings: dict[str, Any], text: str
) -> None:
    world = make_world()
    with refused("rejected", text):
        world.platform.check_plan(world.make_plan(**settings))


def test_methods_that_a_model_does_not_have(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(full=False, max_seq_length_dpo=0)})
    with refused("rejected", "only LoRA"):
        world.platform.check_plan(world.make_plan(lora=False))
    with refused("rejected", "only sft"):
        world.platform.check_plan(world.make_plan(training_method="dpo"))
