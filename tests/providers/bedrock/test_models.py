"""Models at Bedrock: what the account's regions tune, until when, and who may use them."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import models
from ftwizard.providers.bedrock.models import convert_model, get_base, get_model_id, get_region
from ftwizard.providers.bedrock.request import REINFORCEMENT
from tests.doubles.aws import EAST, MODELS, WEST
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import SETTINGS, make_plan, make_remote

LITE = "amazon.nova-lite-v1:0:300k"
TUNED = f"arn:aws:bedrock:{EAST}:123456789012:custom-model/{LITE}/abcdef123456"


def change_lite(**changes: Any) -> tuple[Any, ...]:
    return tuple(
        msgspec.structs.replace(model, **changes) if model.tuning_id == LITE else model
        for model in MODELS
    )


def test_ids_of_models() -> None:
    assert get_model_id(make_plan(model="nova-lite")) == LITE
    assert get_model_id(make_plan(model="my.model-v9")) == "my.model-v9"
    assert get_base(LITE) == "amazon.nova-lite-v1:0"
    assert get_base(f"arn:aws:bedrock:{EAST}::foundation-model/{LITE}") == "amazon.nova-lite-v1:0"
    assert get_region(TUNED) == EAST and get_region(LITE) is None


def test_the_models_of_both_regions_are_listed(world: World) -> None:
    live = {model.id: model for model in world.platform.list_models()}
    assert live[LITE].tunable and live["meta.llama3-3-70b-instruct-v1:0:128k"].tunable
    assert live["amazon.nova-canvas-v1:0"].tunable is False
    assert len(world.service.control.list_requests("list_foundation_models")) == 2


def test_an_account_that_may_not_list_models(serve: Serve) -> None:
    world = serve(denied=("bedrock:ListFoundationModels",))
    with pytest.raises(ProviderError) as failure:
        world.platform.list_models()
    assert failure.value.kind == "permission"
    (caution,) = models.check_model(world.platform, make_plan(), EAST)
    assert "was not checked" in caution


def test_a_region_that_does_not_tune_the_model_is_refused() -> None:
    models.check_region(make_plan(), EAST)
    models.check_region(make_plan(model="unknown"), "eu-west-1")
    for plan, region in ((make_plan(), WEST), (make_plan(model=TUNED), WEST)):
        with pytest.raises(ProviderError) as failure:
            models.check_region(plan, region)
        assert failure.value.code == "region" and EAST in failure.value.hint


def test_a_model_that_is_not_listed(world: World) -> None:
    with pytest.raises(ProviderError) as failure:
        models.check_model(world.platform, make_plan(model="amazon.nova-9:0:1k"), EAST)
    assert failure.value.kind == "missing" and "nova-lite" in failure.value.hint
    with pytest.raises(ProviderError) as failure:
        models.check_model(world.platform, make_plan(model="amazon.nova-canvas-v1:0"), EAST)
    assert failure.value.code == "not_tunable"


@pytest.mark.parametrize(("days", "part"), [(20, "in 20 days"), (400, "")])
def test_the_end_of_a_model_is_a_caution(serve: Serve, days: int, part: str) -> None:
    end = str(datetime.date.today() + datetime.timedelta(days=days))
    world = serve(models=change_lite(end_of_life=end))
    cautions = models.check_model(world.platform, make_plan(), EAST)
    assert bool(cautions) is bool(part) and part in "".join(cautions)
    live = {model.id: model for model in world.platform.list_models()}
    assert live[LITE].shutdown == end


def test_a_model_that_has_ended_is_refused(world: World) -> None:
    yesterday = datetime.date.today() - datetime.timedelta(days=1)
    item = {
        "modelId": LITE, "customizationsSupported": ["FINE_TUNING"],
        "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": f"{yesterday}T00:00:00Z"},
    }  # fmt: skip
    assert convert_model(item).shutdown == str(yesterday)
    with pytest.raises(ProviderError) as failure:
        models._check_listed(item, make_plan(), EAST)
    assert failure.value.kind == "closed"


def test_a_model_without_access_is_a_caution(serve: Serve) -> None:
    world = serve(no_access=("amazon.nova-lite-v1:0",))
    (caution,) = models.check_model(world.platform, make_plan(), EAST)
    assert "no access to amazon.nova-lite-v1:0" in caution


def test_llama_that_cannot_be_asked_is_told_before_the_job(world: World) -> None:
    (caution,) = models.check_model(world.platform, make_plan(model="llama-3.1-8b"), WEST)
    assert "provisioned throughput" in caution and "Llama 3.3 70B" in caution
    assert models.check_model(world.platform, make_plan(model="llama-3.3-70b"), WEST) == []


def test_reinforcement_does_not_depend_on_the_list(world: World) -> None:
    settings = msgspec.structs.replace(SETTINGS, customizationType=REINFORCEMENT)
    assert models.check_model(world.platform, make_plan(settings, "nova-2-lite"), EAST) == []


def test_as_many_jobs_as_the_quota_are_a_caution(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.check_quota(world.platform, EAST) == []
    remote = make_remote()
    assert remote.tag
    jobs = [{"jobName": str(number)} for number in range(10)]
    real = world.platform.iterate
    monkeypatch.setattr(
        world.platform, "iterate",
        lambda action, request, *rest: jobs if "jobs" in action else real(action, request, *rest),
    )  # fmt: skip
    (caution,) = models.check_quota(world.platform, EAST)
    assert caution.startswith("10 jobs of this account are in progress")
