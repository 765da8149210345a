"""Whether a word was drawn at random, or chosen by a person, or only stands for such a word."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

_EXAMPLES = (
    "example", "your", "placeholder", "dummy", "fake", "sample", "redacted", "changeme", "insert",
    "xxxx", "0000000", "....", "****", "____", "----",
)  # fmt: skip
_COUNTS = ("123456", "234567", "345678", "456789", "987654", "654321", "abcdef", "ghijkl")
# In a longer word, some of these turn up by chance.
_LOOKED_AT = 64


def entropy(text: str) -> float:
    """Return Shannon's entropy of a text's characters, in bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def is_example(word: str) -> bool:
    """Tell whether a word stands for a secret: ``ghp_xxxx``, ``…EXAMPLE``, ``A1b2C3d4E5f6``."""
    low = word[:_LOOKED_AT].lower()
    letters, digits = "".join(filter(str.isalpha, low)), "".join(filter(str.isdigit, low))
    return any(part in low for part in _EXAMPLES) or any(
        row in letters or row in digits for row in _COUNTS
    )


def is_random(word: str) -> bool:
    """Tell whether a word of a recognisable token was drawn, not thought up.

    Of the shortest tokens, 16 characters of an alphabet of 32, one of 10,000 is below 2.7 bits.
    """
    return entropy(word) >= 2.7 and not is_example(word)


def changes(word: str) -> float:
    """Return how often small letters, capitals and digits give way to each other, by character."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word]
    return sum(a != b for a, b in itertools.pairwise(kinds)) / len(word)


def is_key(word: str) -> bool:
    """Tell whether a word that nothing but its name marks as a key looks drawn at random.

    Letters and digits take turns in it, which they do not in names, paths and dates.
    """
    if sum(c.isdigit() for c in word) < 2 or not any(c.isalpha() for c in word):
        return False
    parts = re.split(r"[._~=-]+", word)
    return is_random(word) and any(len(p) >= 10 and changes(p) >= 0.3 for p in parts)


_COMMON = (
    "pass", "p@ss", "p4ss", "secret", "s3cr3t", "change", "your", "admin", "user", "test", "demo",
    "guest", "root", "hello", "welcome", "qwerty", "letmein", "login", "1234", "abcd", "tr0ub4d",
    "correcthorse", "monkey", "dragon", "hunter2", "must",
)  # fmt: skip
# Names in code and paths: settings.password, /etc/App1
_NAME = re.compile(r"[A-Za-z_]\w*(?:[.:/\\-]+[A-Za-z_$]\w*)*", re.ASCII)
_ELSEWHERE = re.compile(r"[$%@][A-Za-z_]\w*%?|.*://.*", re.ASCII)  # $DB_PWD_1A, https://…


def is_password(word: str) -> bool:
    """Tell whether a word looks like a password that somebody uses."""
    low = word.lower()
    if is_example(word) or any(part in low for part in _COMMON) or _ELSEWHERE.fullmatch(word):
        return False
    kinds = (str.islower, str.isupper, str.isdigit, _is_mark)
    several = sum(any(map(kind, word)) for kind in kinds)
    named = _NAME.fullmatch(word) and changes(word) < 0.3
    return len(set(word)) >= 7 and several >= 3 and not named


def _is_mark(char: str) -> bool:
    return not char.isalnum()


# What examples of addresses have where the password stands.
_STAND_IN = re.compile(
    r"(?:my|your|the|db|user|some|super|strong|top)?[_-]?(?:.*passw?.*|pwd|secret|token|key|user.*|"
    r"admin|root|guest|test|changeme|postgres|mysql|mariadb|redis|mongo(?:db)?|rabbitmq)"
    r"[_-]?\d*!*",
    re.IGNORECASE,
)


def is_given(word: str) -> bool:
    """Tell whether a word where a password must stand is one, and does not just stand for one."""
    if word.isdigit() or (word.isalpha() and (word.islower() or word.isupper())):
        return False
    return not is_example(word) and not _STAND_IN.fullmatch(word)
