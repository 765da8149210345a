"""The IAM role that Bedrock reads the rows with: its trust and rights, read before a job, and the
policies that it needs, ready to paste."""

from __future__ import annotations

import fnmatch
import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ftwizard.providers.base import PLAN_SETTING, ProviderError, tolerate
from ftwizard.providers.bedrock.client import BedrockClient, Caller
from ftwizard.text import make_visible

SERVICE = "bedrock.amazonaws.com"
_ARN = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/([\w+=,.@/-]+)\Z")
_NAME = re.compile(r"[\w+=,.@-]{1,64}\Z")
_ASSUMED = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/([^/]+)/")
_STRING_TESTS = ("stringequals", "stringlike", "stringequalsignorecase", "arnequals", "arnlike")
Document = dict[str, Any]


class Needs(NamedTuple):
    """What a role must be allowed for one job."""

    region: str
    bucket: str
    prefix: str
    """Beginning of all keys, with a ``/`` at its end; empty for the whole bucket."""
    grader: str = ""
    """ARN of the Lambda function."""
    kms_key: str = ""


class RoleReport(NamedTuple):
    """A role that nothing is known to be wrong with."""

    arn: str
    cautions: list[str]
    """What could not be checked."""


def make_trust(account: str, region: str, partition: str = "aws") -> Document:
    """Return the trust policy that lets the jobs of one account and region assume a role."""
    source = f"arn:{partition}:bedrock:{region}:{account}:model-customization-job/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": SERVICE},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnEquals": {"aws:SourceArn": source},
                },
            }
        ],
    }


def make_rights(needs: Needs, partition: str = "aws") -> Document:
    """Return the policy with the rights that a role needs for a job, and no others."""
    bucket = f"arn:{partition}:s3:::{needs.bucket}"
    statements: list[Document] = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": f"{bucket}/{needs.prefix}*",
        },
    ]
    if needs.grader:
        statements.append(
            {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": needs.grader}
        )
    if needs.kms_key.startswith("arn:"):
        statements.append(
            {
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": needs.kms_key,
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def find_arn(role: str | None, caller: Caller) -> str:
    """Return the ARN of a plan's role, which may be named without one.

    Raises ProviderError for no role, a role of another account, and what is not a role.
    """
    role = (role or "").strip()
    if not role:
        raise ProviderError(
            "rejected",
            "The plan names no role that Bedrock may read the rows with.",
            "Set bedrock.role to the name or ARN of an IAM role that trusts bedrock.amazonaws.com.",
            code=PLAN_SETTING,
        )
    if _NAME.match(role):
        return f"arn:{caller.partition}:iam::{caller.account}:role/{role}"
    match = _ARN.match(role)
    if match is None:
        raise ProviderError(
            "rejected",
            f"bedrock.role is {make_visible(role, 100)}, which is neither the name nor the ARN of a"
            " role.",
            "An ARN looks like arn:aws:iam::123456789012:role/NAME.",
            code="role",
        )
    if match[2] != caller.account:
        raise ProviderError(
            "rejected",
            f"The role is of account {match[2]}, but the credentials are of {caller.account}.",
            "Use a role of the same account, or another profile: AWS_PROFILE.",
            code="role_account",
        )
    return role


def resolve_arn(client: BedrockClient, role: str | None, region: str) -> str:
    """Return the ARN of a plan's role with the path that only AWS knows, where it may be read."""
    arn = find_arn(role, client.identify())
    iam = client.connect("iam", region)
    request = functools.partial(iam.get_role, RoleName=arn.rpartition("/")[2])
    with tolerate("permission", "missing", "rejected"):
        details = client.call("look up the role", request).get("Role")
        actual = details.get("Arn") if isinstance(details, Mapping) else None
        if isinstance(actual, str) and _ARN.match(actual):
            return actual
    return arn


def check_role(client: BedrockClient, role: str | None, needs: Needs) -> RoleReport:
    """Check that a role exists, trusts Bedrock and has its rights; nothing is changed.

    What cannot be read is a caution: only what is known to be wrong raises ProviderError.
    """
    caller = client.identify()
    arn = find_arn(role, caller)
    name = arn.rpartition("/")[2]
    iam = client.connect("iam", needs.region)
    try:
        answer = client.call("look up the role", functools.partial(iam.get_role, RoleName=name))
    except ProviderError as error:
        if error.kind == "missing":
            raise _explain_missing(name, caller, needs) from None
        if error.kind == "key":
            raise
        return RoleReport(
            arn, [f"The role {make_visible(name, 64)} was not checked: {error.message}"]
        )
    details = answer.get("Role")
    details = details if isinstance(details, Mapping) else {}
    arn = str(details.get("Arn") or arn)
    cautions = _check_trust(details.get("AssumeRolePolicyDocument"), arn, caller, needs)
    cautions += _check_rights(client, iam, arn, caller, needs)
    return RoleReport(arn, cautions)


def _explain_missing(name: str, caller: Caller, needs: Needs) -> ProviderError:
    trust = _write(make_trust(caller.account, needs.region, caller.partition))
    rights = _write(make_rights(needs, caller.partition))
    shown = make_visible(name, 64)
    return ProviderError(
        "missing",
        f"Account {caller.account} has no role {shown}.",
        f"Create it: aws iam create-role --role-name {shown} --assume-role-policy-document {trust}"
        f" && aws iam put-role-policy --role-name {shown} --policy-name ftwizard --policy-document"
        f" {rights}",
        code="no_such_role",
    )


def _write(document: Document) -> str:
    """Return a policy as a word of a shell."""
    return shlex.quote(json.dumps(document, separators=(",", ":")))


def _check_trust(document: Any, arn: str, caller: Caller, needs: Needs) -> list[str]:
    """Raise ProviderError if a trust policy keeps the job from assuming the role; return cautions."""
    name = make_visible(arn.rpartition("/")[2], 64)
    source = (
        f"arn:{caller.partition}:bedrock:{needs.region}:{caller.account}:model-customization-job/x"
    )
    verdict = evaluate_trust(document, caller.account, source)
    if verdict is True:
        return []
    if verdict is None:
        return [f"Whether the role {name} trusts Bedrock could not be read from its policy."]
    trust = _write(make_trust(caller.account, needs.region, caller.partition))
    raise ProviderError(
        "permission",
        f"The role {name} does not trust the jobs of Bedrock in {needs.region}.",
        f"Set its trust policy: aws iam update-assume-role-policy --role-name {name}"
        f" --policy-document {trust}",
        code="role_trust",
    )


def evaluate_trust(document: Any, account: str, source: str) -> bool | None:
    """Return whether a trust policy lets a job of Bedrock assume its role.

    ``source``: ARN of the job. None if the policy has conditions that are not understood here, or
    is not readable.
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return None
    if not isinstance(document, Mapping):
        return None
    context = {"aws:sourceaccount": account, "aws:sourcearn": source}
    denied = [
        _applies(statement, context)
        for statement in _list_statements(document)
        if statement.get("Effect") == "Deny"
    ]
    if True in denied:
        return False
    allowed = [
        _applies(statement, context)
        for statement in _list_statements(document)
        if statement.get("Effect") == "Allow"
    ]
    if True in allowed:
        return None if None in denied else True
    return None if None in allowed else False


def _list_statements(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for statement in _as_list(document.get("Statement")):
        if isinstance(statement, Mapping):
            yield statement


def _applies(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool | None:
    """Return whether a statement is about Bedrock and this job; None if that is not understood."""
    actions = [str(action).lower() for action in _as_list(statement.get("Action"))]
    if not any(fnmatch.fnmatchcase("sts:assumerole", action) for action in actions):
        return None if "NotAction" in statement else False
    principal = statement.get("Principal")
    services = principal.get("Service") if isinstance(principal, Mapping) else None
    anybody = principal == "*" or (
        isinstance(principal, Mapping) and "*" in _as_list(principal.get("AWS"))
    )
    if not anybody and SERVICE not in _as_list(services):
        return None if "NotPrincipal" in statement else False
    tests = statement.get("Condition")
    results = [
        _test(operator, values, context)
        for operator, values in (tests.items() if isinstance(tests, Mapping) else ())
    ]
    if False in results:
        return False
    return None if None in results else True


def _test(operator: str, values: Any, context: Mapping[str, str]) -> bool | None:
    """Return whether a condition holds; None for operators and keys that are not understood."""
    kind = operator.lower().removesuffix("ifexists")
    if kind not in _STRING_TESTS or not isinstance(values, Mapping):
        return None
    results: list[bool | None] = []
    for key, patterns in values.items():
        actual = context.get(str(key).lower())
        is_pattern = kind not in ("stringequals", "stringequalsignorecase")
        results.append(
            None
            if actual is None
            else any(_matches(actual, str(each), is_pattern) for each in _as_list(patterns))
        )
    if False in results:
        return False
    return None if None in results else True


def _matches(actual: str, pattern: str, is_pattern: bool) -> bool:
    # A [ has no meaning in a policy, unlike in a pattern of fnmatch.
    return (
        fnmatch.fnmatchcase(actual, pattern.replace("[", "[[]"))
        if is_pattern
        else actual == pattern
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _check_rights(
    client: BedrockClient, iam: Any, arn: str, caller: Caller, needs: Needs
) -> list[str]:
    """Raise ProviderError if a role lacks a right that a job needs; return cautions."""
    name = make_visible(arn.rpartition("/")[2], 64)
    bucket = f"arn:{caller.partition}:s3:::{needs.bucket}"
    questions = [
        (["s3:GetObject", "s3:PutObject"], f"{bucket}/{needs.prefix}x"),
        (["s3:ListBucket"], bucket),
    ]
    if needs.grader:
        questions.append((["lambda:InvokeFunction"], needs.grader))
    cautions: list[str] = []
    for actions, resource in questions:
        denied, is_certain = _simulate(client, iam, arn, actions, resource)
        if denied is None:
            return [
                f"The rights of the role {name} were not checked: the account may not read them."
            ]
        if denied and is_certain and not _has_own_policy(client, resource, needs):
            rights = _write(make_rights(needs, caller.partition))
            raise ProviderError(
                "permission",
                f"The role {name} may not {', '.join(denied)} on {make_visible(resource, 150)}.",
                f"Give it the rights: aws iam put-role-policy --role-name {name} --policy-name ftwizard"
                f" --policy-document {rights}",
                code="role_rights",
            )
        if denied:
            cautions.append(
                f"The role {name} may lack {', '.join(denied)} on {make_visible(resource, 150)}:"
                " a condition, or a policy of the bucket or function, decides that."
            )
    return [*cautions, *_check_caller(client, iam, "iam:PassRole", arn)]


def _has_own_policy(client: BedrockClient, resource: str, needs: Needs) -> bool:
    """Return whether a bucket or function has a policy of its own, or may have one: it can allow what
    the role's policies do not mention, and is not simulated."""
    if ":s3:" not in resource:
        return True
    s3 = client.connect("s3", needs.region)
    try:
        client.call(
            "read the policy of the bucket",
            functools.partial(s3.get_bucket_policy, Bucket=needs.bucket),
        )
    except ProviderError as error:
        return error.code != "NoSuchBucketPolicy"
    return True


def check_creation(client: BedrockClient, region: str) -> list[str]:
    """Return a caution if the caller seems to lack the right to create a job."""
    iam = client.connect("iam", region)
    return _check_caller(client, iam, "bedrock:CreateModelCustomizationJob", "*")


def _check_caller(client: BedrockClient, iam: Any, action: str, resource: str) -> list[str]:
    """Return a caution for a right that the caller seems to lack; a policy of the organization, which
    is not simulated, may still decide otherwise."""
    source = _find_source(client, iam, client.identify())
    if source is None:
        return []
    passed = {
        "ContextKeyName": "iam:PassedToService", "ContextKeyValues": [SERVICE],
        "ContextKeyType": "string",
    }  # fmt: skip
    denied, _ = _simulate(client, iam, source, [action], resource, [passed])
    if not denied:
        return []
    return [f"{make_visible(source, 150)} seems to lack {action}, which creating a job needs."]


def _find_source(client: BedrockClient, iam: Any, caller: Caller) -> str | None:
    """Return the ARN whose policies the caller has; None where they cannot be simulated."""
    if ":user/" in caller.arn and ":iam:" in caller.arn:
        return caller.arn
    match = _ASSUMED.match(caller.arn)
    if match is None:
        return None  # the root user, or a federated one
    try:
        answer = client.call(
            "look up the caller's role", functools.partial(iam.get_role, RoleName=match[1])
        )
    except ProviderError:
        return None
    details = answer.get("Role")
    arn = details.get("Arn") if isinstance(details, Mapping) else None
    return arn if isinstance(arn, str) else None


def _simulate(
    client: BedrockClient, iam: Any, source: str, actions: list[str], resource: str,
    context: list[dict[str, Any]] | None = None,
) -> tuple[list[str] | None, bool]:  # fmt: skip
    """Return the actions that are denied, None if that cannot be read, and whether it is certain."""
    request = functools.partial(
        iam.simulate_principal_policy, PolicySourceArn=source, ActionNames=actions,
        ResourceArns=[resource], **({"ContextEntries": context} if context else {}),
    )  # fmt: skip
    try:
        answer = client.call("check the rights of the role", request)
    except ProviderError as error:
        if error.kind == "key":
            raise
        return None, False
    denied, is_certain = [], True
    for item in answer.get("EvaluationResults") or []:
        if item.get("EvalDecision") != "allowed":
            denied.append(make_visible(str(item.get("EvalActionName")), 60))
            is_certain &= not item.get("MissingContextValues")
    return denied, is_certain
