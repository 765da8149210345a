"""Hostile texts that attack a terminal, a layout, a markup parser or the reader."""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

SEEN = "seen"
"""The start and end of each text, so that a test can find it on a screen."""

_MIDDLES = {
    "csi": "\x1b[66;6H\x1b[2J\x1b[6;31m",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://owned\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "dcs": "\x1bP+q544e\x1b\\\x1b_owned\x1b\\\x1bc",
    "c1": "\x9b66;6H\x9d0;owned\x9c\x85\x90",
    "bidi": "\u202egnp.\u202c\u2066owned\u2069\u200f",
    "markup": "[bold]x[/bold] [@click=app.quit]y[/] [link=http://owned]z[/link] :smile:",
    "malformed": "[/] [/nope] [bold [link= [[[ ]] \\[ \\",
    "nul": "\0",
    "surrogate": "\udc9b\ud800",
    "zero-width": "\u200b\u200d\u2060\ufeff\U000e0041",
    "zalgo": "Z\u0361\u0489\u0315" + "\u0336" * 300,
    "wide": "漢字 ﷽ 👩‍👩‍👧‍👦 ｆｕｌｌ",
    "breaks": "\r\n\n\t\v\f\x1c\x85\u2028\u2029\b\b\b\b\x7f",
    "format": "%s %(x)d {0} {x!r} ${HOME} $x `id`",
}
TEXTS = {name: f"{SEEN}{middle}{SEEN}" for name, middle in _MIDDLES.items()}
TEXTS["all"] = "".join(TEXTS.values())
TEXTS["long"] = SEEN + "x" * 1_000_000 + SEEN
KINDS = {
    "sequences": ("csi", "title", "link", "clipboard", "dcs"),
    "controls": ("c1", "nul", "breaks"),
    "reading order": ("bidi", "zero-width"),
    "markup": ("markup", "malformed", "format"),
    "width": ("zalgo", "wide"),
    "encoding": ("surrogate",),
    "all kinds": ("all",),
    "length": ("long",),
}
"""Texts by the kind of their danger. A page that survives one text of a kind takes another of that
kind on the same path, so each page shows some of each kind, and another page shows the others."""
PAGES = (
    "problem", "estimate", "review", "account", "results", "comparison", "ended run",
    "live run", "doctor", "data", "prices", "costs",
)  # fmt: skip
"""Pages that show hostile text."""
NAME = f"][bold]{SEEN}\x1b]52;c;b3duZWQ=\x07\x9b66;6H\u202e\r\n["
"""A file or folder name; nested folders of this name put ``[/]`` into the path."""
SHOWN_NAME = f"][bold]{SEEN}␛]52;c;b3duZWQ=␇\\u009b66;6H\\u202e\\r\\n["


def choose_texts(page: str) -> dict[str, str]:
    """Return the texts of one page by name: of each kind, two sequences among them."""
    number = PAGES.index(page)
    names = [kind[number % len(kind)] for kind in KINDS.values()]
    sequences = KINDS["sequences"]
    names.append(sequences[(number + 2) % len(sequences)])
    return {name: TEXTS[name] for name in names}


# Characters that a terminal acts on or that mislead the reader: controls, formats such as bidi
# overrides, surrogates, line and paragraph separators.
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Sequences that rich and prompt_toolkit send themselves: colors, cursor, erasing, modes.
_OURS = re.compile(r"\x1b\[(?!66;6H|6;31m)[0-9;?]*[A-Za-z]|[\r\b]")


def obeyed(text: str) -> list[str]:
    """Return the characters of a text that a terminal would obey, except line breaks."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in _OBEYED]


def obeyed_bytes(output: bytes) -> list[str]:
    """Return the characters of line output that a terminal would obey, except colors, cursor
    moves and erasing."""
    return obeyed(_OURS.sub("", output.decode(errors="surrogateescape")))


def too_wide(frame: str, columns: int) -> list[str]:
    """Return the rows that are wider than ``columns`` cells."""
    return [row for row in frame.split("\n") if cell_len(row) > columns]
