"""Objects and roles of the account, which moto keeps: what the service reads and writes itself."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.aws.scenario import ACCOUNT, EAST, ROLE, USER, WEST, AwsScenario

PARTITION = "aws"


def prepare(scenario: AwsScenario) -> None:
    """Forget everything that moto holds in this process; make the ready buckets, role and user."""
    from moto.backends import get_backend

    for name in ("s3", "iam", "sts"):
        get_backend(name).reset()
    for name, region in scenario.buckets.items():
        _get_s3().create_bucket(name, region)
    for name in scenario.foreign_buckets:
        _get_s3().create_bucket(name, EAST)
    iam = _get_iam()
    iam.create_role(ROLE, json.dumps(make_trust(scenario.role_service)), "/", None, "", [], None)
    statement = {"Effect": "Allow", "Action": list(scenario.role_actions), "Resource": "*"}
    if scenario.role_actions:
        iam.put_role_policy(ROLE, "double", json.dumps(make_policy([statement])))
    iam.create_user(EAST, USER.rpartition("/")[2])


def make_trust(service: str = "bedrock.amazonaws.com") -> dict[str, Any]:
    """Return the trust policy of a role that a service may take for jobs in both regions."""
    sources = [
        f"arn:aws:bedrock:{each}:{ACCOUNT}:model-customization-job/*" for each in (EAST, WEST)
    ]
    condition = {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": sources},
    }
    return make_policy(
        [
            {
                "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole",
                "Condition": condition,
            }
        ]
    )  # fmt: skip


def make_policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _get_s3() -> Any:
    from moto.backends import get_backend  # slow: not for those who only import the double

    return get_backend("s3")[ACCOUNT][PARTITION]


def _get_iam() -> Any:
    from moto.backends import get_backend

    return get_backend("iam")[ACCOUNT][PARTITION]


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://BUCKET/KEY``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def get_region(bucket: str) -> str | None:
    """Return the region of a bucket; None if there is none of that name."""
    item = _get_s3().buckets.get(bucket)
    return None if item is None else str(item.region_name)


def list_bucket_statements(bucket: str) -> list[dict[str, Any]]:
    """Return the statements of a bucket's own policy."""
    item = _get_s3().buckets.get(bucket)
    if item is None or not item.policy:
        return []
    return list(json.loads(item.policy)["Statement"])


def read_object(uri: str) -> bytes | None:
    """Return an object; None if there is none."""
    bucket, key = split_uri(uri)
    if get_region(bucket) is None:
        return None
    item = _get_s3().get_object(bucket, key)
    return None if item is None else bytes(item.value)


def write_object(uri: str, data: bytes) -> None:
    bucket, key = split_uri(uri)
    _get_s3().put_object(bucket, key, data)


def list_objects() -> list[tuple[str, int, dict[str, str]]]:
    """Return address, size in bytes and metadata of all objects, oldest first."""
    items = []
    for bucket in _get_s3().buckets.values():
        for key in bucket.keys.values():
            items.append((key.last_modified, f"s3://{bucket.name}/{key.name}", key))
    items.sort(key=lambda each: each[:2])
    return [(uri, int(key.size), dict(key.metadata)) for _, uri, key in items]


def find_role(arn: str) -> Any:
    """Return a role by its ARN; None if there is none."""
    return next((role for role in _get_iam().get_roles() if role.arn == arn), None)


def find_user(arn: str) -> Any:
    """Return a user by its ARN; None if there is none."""
    return next((user for user in _get_iam().users.values() if user.arn == arn), None)


def list_statements(principal: Any) -> list[dict[str, Any]]:
    """Return the statements of all policies of a role or user."""
    policies = principal.policies
    texts = list(policies.values()) if isinstance(policies, dict) else []
    texts += [policy.document for policy in principal.managed_policies.values()]
    statements: list[dict[str, Any]] = []
    for text in texts:
        own = json.loads(text)["Statement"]
        statements += own if isinstance(own, list) else [own]
    return statements
