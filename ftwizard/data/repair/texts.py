"""Changes to the texts of a row: control and invisible characters, mojibake, and secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ftwizard.data import unicode
from ftwizard.data.formats.fields import count_common
from ftwizard.data.privacy.detect import find_secrets, redact_text
from ftwizard.data.repair.change import Path, RowChange, format_path, shorten

# No match begins within another unfinished one, so a text of sequence starts takes one pass.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # CSI: colors, the cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)"  # OSC: titles, the clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x80-\x9f]*+(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[()*+][0-9A-Za-z]"  # a character set
)
_C1 = re.compile(r"[\x80-\x9f]")
# Found in a line of JSON if a text in it may need fixing; cheap to search for.
_MAYBE = re.compile(rb"\\[ubf]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
CODES = frozenset({"secret", "card_number", "bank_account", "national_id"})
"""Codes of what is redacted on request. Names and addresses are often needed for training, so they
are only reported."""
_MAX_ROUNDS = 10
_MIN_SECRET = 6


def may_need_fixes(line: bytes) -> bool:
    """Return whether a text in a row's JSON may need fixing; cheap, without false negatives."""
    return not line.isascii() or _MAYBE.search(line) is not None


def fix_texts(row: Any) -> list[RowChange]:
    """Fix every text of a row in place and return the changes."""
    changes: list[RowChange] = []
    for container, key, path in _iterate_texts(row):
        text: str = container[key]
        if text.isascii() and not unicode.CONTROL.search(text):
            continue
        fixed = text
        for code, was, now in _apply_fixes(text):
            fixed = now
            changes.append(_describe_change(code, path, was, now))
        container[key] = fixed
    return changes


def _apply_fixes(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield code, old text and new text for each fix that changes the text."""
    for _ in range(_MAX_ROUNDS):
        before = text
        for code, step in _FIXES:
            if (now := step(text)) != text:
                yield code, text, now
                text = now
        if text == before:  # a removal can join its two sides into something that needs fixing
            return


def _remove_sequences(text: str) -> str:
    if not unicode.CONTROL.search(text):
        return text
    for _ in range(_MAX_ROUNDS):  # they can be nested
        text, count = _SEQUENCES.subn("", text)
        if not count:
            break
    return text


def _fix_encoding(text: str) -> str:
    """Undo a wrong decoding of a text if that is unambiguous."""
    if text.isascii():
        return text
    if unicode.is_mojibake(text):
        import ftfy

        # ftfy's other fixes change intact text, or insert U+FFFD for what is lost.
        config = ftfy.TextFixerConfig(
            restore_byte_a0=True, replace_lossy_sequences=False, decode_inconsistent_utf8=True,
            fix_c1_controls=False,
        )  # fmt: skip
        text = ftfy.fix_encoding(text, config)
    if _C1.search(text):
        from ftfy.fixes import fix_c1_controls

        text = str(fix_c1_controls(text))
    return text


def _remove_controls(text: str) -> str:
    if "\b" in text:
        text = "\n".join(
            _apply_backspaces(line) if "\b" in line else line for line in text.split("\n")
        )
    return unicode.CONTROL.sub("", text)


def _apply_backspaces(line: str) -> str:
    """Apply the backspaces in a line as a terminal does."""
    cells: list[str] = []
    column = 0
    for char in line:
        if char == "\b":
            column = max(0, column - 1)
            continue
        cells[column : column + 1] = [char]
        column += 1
    return "".join(cells)


_FIXES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("control_char", _remove_sequences),
    ("mojibake", _fix_encoding),
    ("control_char", _remove_controls),
    ("bidi", unicode.remove_bidi),
    ("hidden_text", unicode.remove_hidden),
)


def _describe_change(code: str, path: Path, was: str, now: str) -> RowChange:
    """Return the change, reduced to where the texts differ and without secrets."""
    start = count_common(was, now)
    was, now = was[start:], now[start:]
    if end := count_common(was[::-1], now[::-1]):
        was, now = was[:-end], now[:-end]
    return RowChange(code, format_path(path), shorten(_redact(was)), shorten(_redact(now)))


def _redact(piece: str) -> str:
    return redact_text(piece) if len(piece) >= _MIN_SECRET else piece


def redact_row(row: Any) -> list[RowChange]:
    """Replace the secrets in every text of a row in place and return the changes."""
    changes: list[RowChange] = []
    for container, key, path in _iterate_texts(row):
        text, kinds = _replace_secrets(container[key])
        container[key] = text
        changes += [
            RowChange(code, format_path(path), f"a secret: {kind}", _placeholder(kind))
            for code, kind in kinds
        ]
    return changes


def _replace_secrets(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a text without its secrets, and the code and kind of each.

    Once a secret is gone, the text around it can look like one: the result is searched again.
    """
    kinds: list[tuple[str, str]] = []
    for _ in range(_MAX_ROUNDS):
        secrets = [secret for secret in find_secrets(text) if secret.code in CODES]
        if not secrets:
            break
        pieces, end = [], 0
        for secret in secrets:
            pieces += [text[end : secret.start], _placeholder(secret.kind)]
            kinds.append((secret.code, secret.kind))
            end = secret.end
        text = "".join([*pieces, text[end:]])
    return text, kinds


def _placeholder(kind: str) -> str:
    return f"[redacted: {kind}]"


def _iterate_texts(row: Any) -> Iterator[tuple[Any, Any, Path]]:
    """Yield container, key and path of every text value of a row, at any depth."""
    waiting: list[tuple[Any, Path]] = [(row, ())]
    while waiting:
        container, path = waiting.pop()
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(pairs):
            if isinstance(value, str):
                yield container, key, (*path, key)
            elif isinstance(value, dict | list):
                waiting.append((value, (*path, key)))
