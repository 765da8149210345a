"""Bedrock as a platform: the checks before anything is uploaded, in the terms of a plan."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.plan.schema import Bedrock
from ftwizard.providers.account import inspect_account
from ftwizard.providers.base import PLAN_SETTING, ProviderError
from ftwizard.providers.bedrock import client
from ftwizard.providers.bedrock.request import REINFORCEMENT
from tests.doubles.aws import ACCOUNT, EAST, ROLE, WEST, WEST_BUCKET, AwsFault
from tests.helpers.followed_jobs import quick_aws
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import GRADER, SETTINGS, make_plan

STORAGE = "billed by the month"


def test_a_plan_that_is_ready_changes_nothing(world: World) -> None:
    (caution,) = world.platform.check_plan(make_plan())
    assert STORAGE in caution
    requests = world.service.control.list_requests()
    assert not any(request.call.startswith(("create", "upload", "put")) for request in requests)
    assert world.service.control.list_files() == []


def test_the_terms_of_a_plan(world: World) -> None:
    platform = world.platform
    assert platform.get_target(make_plan()) == "bedrock-nova"
    assert platform.get_target(make_plan(model="llama-3.3-70b")) == "bedrock-llama"
    reinforced = make_plan(Bedrock(customizationType="REINFORCEMENT_FINE_TUNING"), "nova-2-lite")
    assert platform.get_target(reinforced) == "bedrock-rft"
    assert platform.get_method(reinforced) == "reinforcement"
    assert platform.get_method(make_plan()) == "supervised"
    assert not platform.has_steps and not platform.can_pause


@pytest.mark.parametrize(
    ("changes", "model", "code"),
    [({"region": WEST}, "nova-lite", "region"),
     ({"bucket": None}, "nova-lite", PLAN_SETTING),
     ({"role": None}, "nova-lite", PLAN_SETTING),
     ({"bucket": WEST_BUCKET}, "nova-lite", "bucket_region"),
     ({"prefix": "a b"}, "nova-lite", "address"),
     ({"role": "nobody"}, "nova-lite", "no_such_role"),
     ({"customizationType": REINFORCEMENT, "grader": GRADER}, "nova-lite", "method"),
     ({"customizationType": REINFORCEMENT, "grader": GRADER}, "nova-2-lite", "no_grader")],
)  # fmt: skip
def test_plans_that_could_not_become_a_job(
    world: World, changes: dict[str, object], model: str, code: str
) -> None:
    plan = make_plan(msgspec.structs.replace(SETTINGS, **changes), model)
    with pytest.raises(ProviderError) as failure:
        world.platform.check_plan(plan)
    assert failure.value.code == code and failure.value.hint


def test_no_region_at_all_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    platform = world.connect(AWS_DEFAULT_REGION="")
    assert platform.region == ""
    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan(msgspec.structs.replace(SETTINGS, region=None)))
    assert failure.value.code == "no_region"
    assert platform.list_models()  # of the regions that tune models


def test_a_wrong_clock_is_a_caution(serve: Serve) -> None:
    cautions = serve(clock_offset_s=-250.0).platform.check_plan(make_plan())
    assert len(cautions) == 1


def test_a_role_by_its_name_is_enough(world: World) -> None:
    plan = make_plan(msgspec.structs.replace(SETTINGS, role=ROLE))
    assert len(world.platform.check_plan(plan)) == 1


@pytest.mark.parametrize(
    ("scenario", "part"),
    [({"no_access": ("amazon.nova-lite-v1:0",)}, "no access to amazon.nova-lite-v1:0"),
     ({"denied": ("bedrock:CreateModelCustomizationJob",)}, "seems to lack bedrock:CreateModel")],
)  # fmt: skip
def test_an_account_without_a_bucket_keeps_its_other_cautions(
    serve: Serve, scenario: dict[str, tuple[str, ...]], part: str
) -> None:
    report = inspect_account("bedrock", environment=serve(**scenario).service.environment)
    assert report.ready, report.error
    first, last = report.cautions
    assert part in first and "bedrock.bucket" in last


def test_a_quota_of_no_jobs_is_an_error(serve: Serve) -> None:
    world = serve(max_active_jobs=0)
    report = inspect_account("bedrock", environment=world.service.environment)
    assert (report.ready, report.cause) == (False, "quota")
    assert report.error is not None and "is 0" in report.error
    assert "servicequotas" in report.hint and world.service.control.list_jobs() == []


def test_regions_that_differ_are_a_caution_unless_the_plan_names_one(world: World) -> None:
    platform = world.connect(AWS_REGION=WEST)
    without = make_plan(msgspec.structs.replace(SETTINGS, region=None))
    for cautions in (platform.check_plan(without), platform.describe_account()):
        assert "AWS_DEFAULT_REGION is us-east-1, and AWS_REGION is us-west-2" in cautions[0]
    (caution,) = platform.check_plan(make_plan())
    assert STORAGE in caution
    assert world.connect(AWS_REGION=EAST).describe_account() == []
    assert world.connect(AWS_REGION=WEST, AWS_DEFAULT_REGION="").describe_account() == []
    environment = world.service.environment | {"AWS_REGION": WEST}
    report = inspect_account("bedrock", environment=environment)
    assert report.ready and sum("AWS_REGION is" in caution for caution in report.cautions) == 1


def test_a_check_outlasts_a_drop_at_each_of_its_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ATTEMPTS", 2)
    quick_aws(monkeypatch)
    control = world.service.control
    identity = "get_caller_identity"  # asked once
    control.add_fault(AwsFault(on=identity, action="drop_reply"))
    (caution,) = world.platform.check_plan(make_plan())
    assert STORAGE in caution
    calls = {request.call for request in control.list_requests()}
    assert {identity, "head_bucket", "get_role", "list_jobs"} < calls
    for call in sorted(calls - {identity}):
        control.add_fault(AwsFault(on=call, action="drop_reply"))
        assert world.platform.check_plan(make_plan()) == [caution], call
    assert control.list_jobs() == control.list_files() == []


def test_what_was_noted_before_an_error_is_shown(serve: Serve) -> None:
    world = serve(no_access=("amazon.nova-lite-v1:0",))
    with pytest.raises(ProviderError) as failure:
        world.platform.check_plan(make_plan(msgspec.structs.replace(SETTINGS, role="nobody")))
    assert any("no access" in caution for caution in failure.value.cautions)


def test_the_account_is_ready_without_a_bucket(world: World) -> None:
    report = inspect_account("bedrock", environment=world.service.environment)
    assert report.ready, report.error
    assert report.login is not None and report.login.account == ACCOUNT
    assert any("bedrock.bucket" in caution for caution in report.cautions)
    tunable = {model.id for model in report.models if model.tunable}
    assert "amazon.nova-lite-v1:0:300k" in tunable
    assert report.login.region == EAST
