"""Randomness tests that tell secrets from passwords, names and placeholders."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

_EXAMPLES = (
    "example", "your", "placeholder", "dummy", "fake", "sample", "redacted", "changeme", "insert",
    "xxxx", "0000000", "....", "****", "____", "----",
)  # fmt: skip
_SEQUENCES = ("123456", "234567", "345678", "456789", "987654", "654321", "abcdef", "ghijkl")
# In a longer word, some of these occur by chance.
_EXAMINED_CHARACTERS = 64


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text, in bits per character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def is_example(word: str) -> bool:
    """Tell whether a word is a placeholder: ``ghp_xxxx``, ``…EXAMPLE``, ``A1b2C3d4E5f6``."""
    low = word[:_EXAMINED_CHARACTERS].lower()
    letters, digits = "".join(filter(str.isalpha, low)), "".join(filter(str.isdigit, low))
    return any(part in low for part in _EXAMPLES) or any(
        row in letters or row in digits for row in _SEQUENCES
    )


def is_random(word: str) -> bool:
    """Tell whether the body of a token is random, not made up.

    Of the shortest tokens (16 characters from an alphabet of 32), 1 in 10,000 is below 2.7 bits.
    """
    return entropy(word) >= 2.7 and not is_example(word)


def class_change_ratio(word: str) -> float:
    """Return the number of changes between lower case, upper case and digits, per character."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word]
    return sum(a != b for a, b in itertools.pairwise(kinds)) / len(word)


def is_key(word: str) -> bool:
    """Tell whether a word marked as a key only by its name looks random.

    Letters and digits alternate in it, unlike in names, paths and dates.
    """
    if sum(c.isdigit() for c in word) < 2 or not any(c.isalpha() for c in word):
        return False
    parts = re.split(r"[._~=-]+", word)
    return is_random(word) and any(len(p) >= 10 and class_change_ratio(p) >= 0.3 for p in parts)


_COMMON_PARTS = (
    "pass", "p@ss", "p4ss", "secret", "s3cr3t", "change", "your", "admin", "user", "test", "demo",
    "guest", "root", "hello", "welcome", "qwerty", "letmein", "login", "1234", "abcd", "tr0ub4d",
    "correcthorse", "monkey", "dragon", "hunter2", "must",
)  # fmt: skip
# Names in code, and paths: settings.password, /etc/App1
_NAME = re.compile(r"[A-Za-z_]\w*(?:[.:/\\-]+[A-Za-z_$]\w*)*", re.ASCII)
_REFERENCE = re.compile(r"[$%@][A-Za-z_]\w*%?|.*://.*", re.ASCII)  # $DB_PWD_1A, https://…


def is_password(word: str) -> bool:
    """Tell whether a word looks like a password in use."""
    low = word.lower()
    if is_example(word) or any(part in low for part in _COMMON_PARTS) or _REFERENCE.fullmatch(word):
        return False
    kinds = (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())
    count = sum(any(map(kind, word)) for kind in kinds)
    is_name = _NAME.fullmatch(word) and class_change_ratio(word) < 0.3
    return len(set(word)) >= 7 and count >= 3 and not is_name


# Placeholders for the password in example URLs.
_PASSWORD_PLACEHOLDER = re.compile(
    r"(?:my|your|the|db|user|some|super|strong|top)?[_-]?(?:.*passw?.*|pwd|secret|token|key|user.*|"
    r"admin|root|guest|test|changeme|postgres|mysql|mariadb|redis|mongo(?:db)?|rabbitmq)"
    r"[_-]?\d*!*",
    re.IGNORECASE,
)


def is_plausible_password(word: str) -> bool:
    """Tell whether a word in the position of a password is not merely a placeholder."""
    if word.isdigit() or (word.isalpha() and (word.islower() or word.isupper())):
        return False
    return not is_example(word) and not _PASSWORD_PLACEHOLDER.fullmatch(word)
