"""Secrets and personal data in a row, reported by kind and position, never by value."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.checks.row_texts import iter_texts
from ftwizard.data.example import Example
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.data.privacy.detect import Secret, find_secrets

_NAMES = {
    "secret": "a possible secret",
    "card_number": "a payment card number",
    "bank_account": "a bank account number",
    "national_id": "a personal identity number",
    "personal_data": "personal data",
}


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield the secrets and personal data in the texts of a row, each kind once per message."""
    reported: set[tuple[str, str]] = set()
    for where, text in iter_texts(example):
        for secret in find_secrets(text):
            if (where, secret.kind) not in reported:
                reported.add((where, secret.kind))
                yield _to_finding(secret, where, target)


def _to_finding(secret: Secret, where: str, target: Target) -> RowFinding:
    length = secret.end - secret.start
    message = f"{where} contains {_NAMES[secret.code]}: {secret.kind}, {length:,} characters"
    return RowFinding(secret.code, message, _get_fix(secret.code, target))


def _get_fix(code: str, target: Target) -> str:
    if code == "personal_data":
        return "replace it with a placeholder, unless the person agreed or it is a public contact"
    action = "replace it with a placeholder" + (" and revoke it" if code == "secret" else "")
    upload = "it would be uploaded, and " if target.hosted else ""
    return f"{action}: {upload}the model could repeat it"
