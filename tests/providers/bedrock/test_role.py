"""The role of a job: whether it trusts Bedrock, what it may do, and the policies to paste."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftwizard.providers.base import PLAN_SETTING, ProviderError
from ftwizard.providers.bedrock import role
from ftwizard.providers.bedrock.client import Caller
from tests.doubles.aws import ACCOUNT, BUCKET, EAST, ROLE, ROLE_ARN, USER, WEST
from tests.providers.bedrock.conftest import Serve, World

NEEDS = role.Needs(EAST, BUCKET, "ftwizard/")
SOURCE = f"arn:aws:bedrock:{EAST}:{ACCOUNT}:model-customization-job/x"
CALLER = Caller(ACCOUNT, USER, None)


def make_statement(**changes: Any) -> dict[str, Any]:
    statement = role.make_trust(ACCOUNT, EAST)["Statement"][0]
    return {name: value for name, value in {**statement, **changes}.items() if value is not None}


def evaluate(*statements: dict[str, Any]) -> bool | None:
    return role.evaluate_trust({"Statement": list(statements)}, ACCOUNT, SOURCE)


def condition(**tests: dict[str, Any]) -> dict[str, Any]:
    return make_statement(Condition=tests)


@pytest.mark.parametrize(
    "statement",
    [make_statement(),
     make_statement(Condition=None),
     make_statement(Principal={"Service": ["ec2.amazonaws.com", "bedrock.amazonaws.com"]}),
     make_statement(Principal="*"),
     make_statement(Principal={"AWS": "*"}),
     make_statement(Action=["sts:TagSession", "sts:AssumeRole"]),
     make_statement(Action="sts:*"), make_statement(Action="*"),
     condition(StringEquals={"AWS:SourceAccount": [ACCOUNT, "1"]}),
     condition(ArnLike={"aws:SourceArn": f"arn:aws:bedrock:*:{ACCOUNT}:*"}),
     condition(StringLike={"aws:SourceArn": "arn:aws:bedrock:us-????-?:*"})],
)  # fmt: skip
def test_policies_that_trust_bedrock(statement: dict[str, Any]) -> None:
    assert evaluate(statement) is True
    assert role.evaluate_trust(json.dumps({"Statement": statement}), ACCOUNT, SOURCE) is True


@pytest.mark.parametrize(
    "statement",
    [make_statement(Principal={"Service": "sagemaker.amazonaws.com"}),
     make_statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
     make_statement(Action="sts:AssumeRoleWithWebIdentity"),
     make_statement(Effect="Deny"),
     condition(StringEquals={"aws:SourceAccount": "999999999999"}),
     condition(ArnEquals={"aws:SourceArn": f"arn:aws:bedrock:{WEST}:{ACCOUNT}:*"}),
     condition(StringEquals={"aws:SourceArn": f"arn:aws:bedrock:{EAST}:{ACCOUNT}:*"}),
     condition(StringEquals={"aws:SourceAccount": "1"}, Null={"aws:TokenIssueTime": "false"})],
)  # fmt: skip
def test_policies_that_do_not(statement: dict[str, Any]) -> None:
    assert evaluate(statement) is False


def test_what_is_not_understood_is_not_decided() -> None:
    unknown = condition(IpAddress={"aws:SourceIp": "10.0.0.0/8"})
    assert evaluate(unknown) is None
    assert evaluate(unknown, make_statement()) is True
    assert evaluate(make_statement(), make_statement(Effect="Deny")) is False
    assert evaluate(make_statement(), {**unknown, "Effect": "Deny"}) is None
    assert evaluate(condition(StringEquals={"aws:PrincipalOrgID": "o-1"})) is None
    documents: tuple[Any, ...] = (None, "no JSON", [], 7)
    for document in documents:
        assert role.evaluate_trust(document, ACCOUNT, SOURCE) is None


@pytest.mark.parametrize(
    ("name", "arn"),
    [("tuner", f"arn:aws:iam::{ACCOUNT}:role/tuner"),
     (f"arn:aws:iam::{ACCOUNT}:role/team/tuner", f"arn:aws:iam::{ACCOUNT}:role/team/tuner")],
)  # fmt: skip
def test_a_role_is_named_with_or_without_its_arn(name: str, arn: str) -> None:
    assert role.find_arn(name, CALLER) == arn


@pytest.mark.parametrize(
    ("name", "code"),
    [(None, PLAN_SETTING), ("  ", PLAN_SETTING), ("arn:aws:iam::999999999999:role/x", "role_account"),
     ("arn:aws:s3:::bucket", "role"), ("a role", "role")],
)  # fmt: skip
def test_what_is_not_a_role_of_the_account(name: str | None, code: str) -> None:
    with pytest.raises(ProviderError) as failure:
        role.find_arn(name, CALLER)
    assert (failure.value.kind, failure.value.code) == ("rejected", code)


def test_a_role_that_is_ready(world: World) -> None:
    for name in (ROLE, ROLE_ARN):
        report = role.check_role(world.platform, name, NEEDS)
        assert report == role.RoleReport(ROLE_ARN, [])
    assert role.resolve_arn(world.platform, ROLE, EAST) == ROLE_ARN
    assert all(request.method != "DELETE" for request in world.service.control.list_requests())


def test_a_role_in_a_path_has_its_arn(world: World) -> None:
    iam = world.service.make_client("iam")
    trust = json.dumps(role.make_trust(ACCOUNT, EAST))
    iam.create_role(RoleName="deep", Path="/team/", AssumeRolePolicyDocument=trust)
    arn = f"arn:aws:iam::{ACCOUNT}:role/team/deep"
    assert role.resolve_arn(world.platform, "deep", EAST) == arn


def read_document(hint: str, option: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(hint.partition(f"{option} '")[2].partition("'")[0])
    return document


def test_a_missing_role_can_be_created_by_the_command_in_the_hint(world: World) -> None:
    with pytest.raises(ProviderError) as failure:
        role.check_role(world.platform, "tuner", NEEDS)
    assert failure.value.code == "no_such_role"

    hint, iam = failure.value.hint, world.service.make_client("iam")
    assert "aws iam create-role --role-name tuner" in hint
    trust = read_document(hint, "--assume-role-policy-document")
    iam.create_role(RoleName="tuner", AssumeRolePolicyDocument=json.dumps(trust))
    rights = json.dumps(read_document(hint, "--policy-document"))
    iam.put_role_policy(RoleName="tuner", PolicyName="ftwizard", PolicyDocument=rights)
    assert role.check_role(world.platform, "tuner", NEEDS).cautions == []


def test_a_role_that_trusts_another_service(serve: Serve) -> None:
    world = serve(role_service="sagemaker.amazonaws.com")
    with pytest.raises(ProviderError) as failure:
        role.check_role(world.platform, ROLE, NEEDS)
    assert (failure.value.kind, failure.value.code) == ("permission", "role_trust")
    trust = read_document(failure.value.hint, "--policy-document")
    assert role.evaluate_trust(trust, ACCOUNT, SOURCE) is True


@pytest.mark.parametrize(
    ("actions", "lacking"),
    [(("s3:GetObject", "s3:ListBucket"), "s3:PutObject"),
     (("s3:GetObject", "s3:PutObject"), "s3:ListBucket")],
)  # fmt: skip
def test_a_role_without_a_right(serve: Serve, actions: tuple[str, ...], lacking: str) -> None:
    with pytest.raises(ProviderError, match=f"may not {lacking}") as failure:
        role.check_role(serve(role_actions=actions).platform, ROLE, NEEDS)
    assert failure.value.code == "role_rights"
    rights = read_document(failure.value.hint, "--policy-document")
    assert lacking in json.dumps(rights) and BUCKET in json.dumps(rights)


def test_a_policy_of_the_bucket_may_allow_what_the_role_lacks(serve: Serve) -> None:
    world = serve(role_actions=("s3:ListBucket",))
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ROLE_ARN}, "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{BUCKET}/*"}]}  # fmt: skip
    s3 = world.service.make_client("s3")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    (caution,) = role.check_role(world.platform, ROLE, NEEDS).cautions
    assert "may lack s3:GetObject, s3:PutObject" in caution


@pytest.mark.parametrize(
    ("denied", "part"),
    [("iam:GetRole", "was not checked"), ("iam:SimulatePrincipalPolicy", "rights of the role"),
     ("iam:PassRole", "seems to lack iam:PassRole")],
)  # fmt: skip
def test_what_cannot_be_read_is_a_caution(serve: Serve, denied: str, part: str) -> None:
    report = role.check_role(serve(denied=(denied,)).platform, ROLE, NEEDS)
    assert report.arn == ROLE_ARN and len(report.cautions) == 1
    assert part in report.cautions[0]


def test_the_rights_name_grader_and_key_only_where_there_is_one() -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    full = json.dumps(role.make_rights(NEEDS._replace(grader="arn:aws:lambda:x", kms_key=key)))
    assert "lambda:InvokeFunction" in full and key in full
    bare = json.dumps(role.make_rights(NEEDS._replace(kms_key="aws/s3")))
    assert "lambda" not in bare and "kms" not in bare
