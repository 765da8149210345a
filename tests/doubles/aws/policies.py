"""IAM as far as jobs need it: who trusts whom, what a role may do, and the simulation of that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.doubles.aws import storage
from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply
from tests.doubles.aws.scenario import ACCOUNT, USER

if TYPE_CHECKING:
    from tests.doubles.aws.state import AwsState

SERVICE = "bedrock.amazonaws.com"
Context = dict[str, list[str]]
"""Values of a request by their names in lower case, as in ``aws:sourceaccount``."""


def trusts_bedrock(role: Any, region: str) -> bool:
    """Return whether the trust policy of a role lets Bedrock take it for a job in a region."""
    context = {
        "aws:sourceaccount": [ACCOUNT],
        "aws:sourcearn": [f"arn:aws:bedrock:{region}:{ACCOUNT}:model-customization-job/x"],
    }
    for statement in _list(json.loads(role.assume_role_policy_document)["Statement"]):
        principal = statement.get("Principal", {})
        services = ["*"] if principal == "*" else _list(principal.get("Service", []))
        if (
            statement["Effect"] == "Allow"
            and (SERVICE in services or "*" in services)
            and _matches("sts:AssumeRole", statement.get("Action", []))
            and not _find_unmet(statement, context)
        ):
            return True
    return False


def decide(
    principal: Any, action: str, resource: str, context: Context | None = None
) -> tuple[str, list[str]]:
    """Return the decision on an action, and the values of the context that it lacks."""
    decision, missing = "implicitDeny", []
    for statement in storage.list_statements(principal):
        if not _matches(action, statement.get("Action", [])):
            continue
        if not _matches(resource, statement.get("Resource", [])):
            continue
        if unmet := _find_unmet(statement, context or {}):
            missing += [name for name in unmet if name.lower() not in (context or {})]
        elif statement["Effect"] == "Deny":
            return "explicitDeny", []
        else:
            decision = "allowed"
    return decision, [] if decision == "allowed" else sorted(set(missing))


def may(role: Any, action: str, resource: str) -> bool:
    """Return whether a role may do something, by its own policies or by that of the bucket."""
    decision, _ = decide(role, action, resource)
    if decision == "implicitDeny" and resource.startswith("arn:aws:s3:::"):
        bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        for statement in storage.list_bucket_statements(bucket):
            principal = statement.get("Principal", {})
            names = ["*"] if principal == "*" else _list(principal.get("AWS", []))
            if (
                statement["Effect"] == "Allow"
                and ({"*", role.arn} & set(names))
                and _matches(action, statement.get("Action", []))
                and _matches(resource, statement.get("Resource", []))
                and not _find_unmet(statement, {"aws:sourceaccount": [ACCOUNT]})
            ):
                return True
    return decision == "allowed"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches(value: str, patterns: Any) -> bool:
    return any(_fits(value, pattern) for pattern in _list(patterns))


def _fits(value: str, pattern: str) -> bool:
    regular = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regular, value, re.IGNORECASE | re.DOTALL) is not None


def _find_unmet(statement: dict[str, Any], context: Context) -> list[str]:
    """Return the names of the conditions that do not hold."""
    unmet = []
    for operator, pairs in statement.get("Condition", {}).items():
        for name, patterns in pairs.items():
            values = context.get(name.lower())
            is_met = values is not None and any(_matches(value, patterns) for value in values)
            if "Not" in operator:
                is_met = not is_met
            if not is_met:
                unmet.append(name)
    return unmet


def simulate(state: AwsState, call: Call) -> Reply:
    """Answer SimulatePrincipalPolicy."""
    form: dict[str, str] = call.body
    arn = form.get("PolicySourceArn", "")
    principal = storage.find_role(arn) or storage.find_user(arn)
    if principal is None:
        raise AwsError(404, "NoSuchEntity", f"The entity {arn} cannot be found.")
    context: Context = {}
    for prefix in _number(form, "ContextEntries"):
        name = form.get(f"{prefix}.ContextKeyName", "").lower()
        context[name] = list(_get_members(form, f"{prefix}.ContextKeyValues"))
    results = []
    for action in _get_members(form, "ActionNames"):
        for resource in list(_get_members(form, "ResourceArns")) or ["*"]:
            decision, missing = "allowed", list[str]()
            if arn == USER:  # the caller may do everything that the scenario does not deny
                if action in state.scenario.denied:
                    decision = "implicitDeny"
            else:
                decision, missing = decide(principal, action, resource, context)
            results.append(_write_result(action, resource, decision, missing))
    text = (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>"
        f"{''.join(results)}</EvaluationResults></SimulatePrincipalPolicyResult>"
        "<ResponseMetadata><RequestId>double</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>"
    )
    return Reply(200, text.encode(), {"Content-Type": "text/xml"})


def identify(state: AwsState, call: Call) -> Reply:
    """Answer GetCallerIdentity."""
    text = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<GetCallerIdentityResult><Arn>{USER}</Arn><UserId>AIDADOUBLE0123456789</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        "<ResponseMetadata><RequestId>double</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return Reply(200, text.encode(), {"Content-Type": "text/xml"})


def _write_result(action: str, resource: str, decision: str, missing: list[str]) -> str:
    values = "".join(f"<member>{escape(name)}</member>" for name in missing)
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision}</EvalDecision>"
        f"<MissingContextValues>{values}</MissingContextValues></member>"
    )


def _number(form: dict[str, str], name: str) -> Iterable[str]:
    """Yield the prefixes of the members of a list in a form."""
    number = 1
    while any(key.startswith(f"{name}.member.{number}.") for key in form):
        yield f"{name}.member.{number}"
        number += 1


def _get_members(form: dict[str, str], name: str) -> Iterable[str]:
    number = 1
    while (value := form.get(f"{name}.member.{number}")) is not None:
        yield value
        number += 1


HANDLERS = {"simulate_principal_policy": simulate, "get_caller_identity": identify}
