"""Id-like strings in a text: codes, phone numbers, addresses, dates, secrets."""

from __future__ import annotations

import re
from typing import NamedTuple

from ftwizard.data.privacy.detect import find_secrets


class Identifier(NamedTuple):
    """An id-like string, in a form in which equal ones compare as equal."""

    kind: str
    """``code``, ``email``, ``date``, ``number``, ``link``, or the kind of a secret."""
    value: str
    is_personal: bool = False
    """Whether it is a secret or personal data."""


_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DATE = (
    r"\b\d{4}-\d\d?-\d\d?\b|\b\d\d?[./]\d\d?[./]\d{4}\b|"
    rf"\b\d\d?(?:st|nd|rd|th)? {_MONTH} \d{{4}}\b|\b{_MONTH} \d\d?(?:st|nd|rd|th)?,? \d{{4}}\b"
)
# Letters and at least three digits: KT-4471, INV2024-0091. Not COVID-19, MP3, GPT-4.
_CODE = (
    r"(?<![\w-])(?=[\w/-]*[A-Za-z])(?=(?:[A-Za-z_/-]*\d){3})"
    r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*(?![\w-])"
)
# Groups of three or more digits, as in phone numbers; one number of six or more.
_NUMBER = (
    r"(?<![\w.,])\+?\(?\d{2,}\)?(?:[ .-]\(?\d{3,}\)?)+(?![\w]|[.,]\d)|"
    r"(?<![\w.,])\d{6,}(?![\w]|[.,]\d)"
)
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("link", re.compile(r"https?://[^\s<>\"')\]]+")),
    ("email", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("date", re.compile(_DATE, re.IGNORECASE)),
    ("code", re.compile(_CODE)),
    ("number", re.compile(_NUMBER)),
)
_UNIT = re.compile(
    r"\d+(?:s|st|nd|rd|th|am|pm|k|m|g|kg|km|cm|mm|ml|mb|gb|tb|hz|mhz|ghz|mah|w|kw|v|px|p|x|bc|ad|ce|bce)",
    re.IGNORECASE,
)
"""Numbers with a unit, which are not codes."""


def find_identifiers(text: str) -> set[Identifier]:
    """Return the id-like strings in ``text``, without those inside of a longer one.

    Round numbers are not ids: 1000000. Nor are years, ordinals or quantities with a unit.
    """
    spans: list[tuple[int, int]] = []
    identifiers: set[Identifier] = set()

    def add(kind: str, start: int, end: int, *, is_personal: bool = False) -> None:
        if any(first < end and start < last for first, last in spans):
            return
        spans.append((start, end))
        value = _normalize(kind, text[start:end].rstrip(".,;:"))
        identifiers.add(Identifier(kind, value, is_personal))

    for secret in find_secrets(text):
        add(secret.kind, secret.start, secret.end, is_personal=True)
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if _is_rare(kind, match[0]):
                add(kind, *match.span())
    return identifiers


def _normalize(kind: str, value: str) -> str:
    if kind in ("number", "phone number"):
        return re.sub(r"\D", "", value)
    return " ".join(value.casefold().replace(",", "").split())


def _is_rare(kind: str, value: str) -> bool:
    """Return whether a string is specific enough to be an id."""
    if kind == "code":
        return len(value) >= 5 and not _UNIT.fullmatch(value)
    digits = re.sub(r"\D", "", value)
    if kind == "number":
        # Round and counting numbers are in every model.
        return len(digits) >= 6 and not digits.endswith("000") and digits not in _COUNTING
    return True


_COUNTING = frozenset("1234567890"[:n] for n in range(6, 11)) | {"0123456789"}
