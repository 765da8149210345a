"""Trigger expressions that decide which exact text checks a row needs.

Hyperscan searches for all expressions at once, at a gigabyte per second; Python's ``re`` takes a
hundred times as long. An expression may have false positives, but no false negatives.
"""

from __future__ import annotations

import functools

from ftwizard.data.patterns import Patterns, compile_patterns

TEXT: dict[str, bytes] = {
    "control": rb"[\x00-\x08\x0b\x0c\x0e-\x1d\x1f\x7f]|\xc2[\x80-\x9f]",
    "separator": rb"\x1e",
    "bidi": rb"\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]",
    "hidden": rb"\xe2\x80\x8b|\xe2\x81[\xa0-\xa4]|\xef\xbb\xbf|\xf3\xa0[\x80\x81]|"
    rb"(?:\xef\xb8[\x80-\x8f]|\xf3\xa0[\x84-\x87][\x80-\xbf]){2}",
    "replacement": rb"\xef\xbf\xbd",
    "mojibake": rb"\xc3[\x82-\xb4](?:\xc2[\x80-\xbf]|\xc5[\x92-\xbe]|\xcb[\x86\x9c]|"
    rb"\xe2\x80[\x93-\xbf]|\xe2[\x81-\x83]|\xe2\x84[\x80-\xa2])",
    "page": rb"(?i)<!doctype html|<html[\s>\\]|<body[\s>\\]|<script[\s>\\]",
    "placeholder": rb"(?i)\[object Object\]|lorem ipsum|\{\{ ?[a-z_][a-z0-9_]* ?\}\}",
    "no_value": rb"(?m)(?:^|\")(?:[ \t\r]|\\[nr])*(?:nan|NaN|NaT|<NA>|undefined|#REF!|#N/A|#VALUE!)"
    rb"(?:[ \t\r]|\\[nr])*(?:$|\")",
    "special": rb"<\|[a-zA-Z0-9_]{1,40}\|>|<\xef\xbd\x9c|\[/?INST\]|<</?SYS>>|"
    rb"<(?:start|end)_of_turn>|</?s>|\[(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|gMASK)\]|"
    rb"<(?:bos|eos)>|<end_of_utterance>",
}  # fmt: skip
"""Triggers of ``checks/text.py``, for texts or for lines of JSON that escape only line ends, quotes
and backslashes. ``no_value`` matches a whole line or string."""

FACTS: dict[str, bytes] = {
    "money": rb"(?:\$|\xe2\x82\xac|\xc2\xa3|\xc2\xa5|\xe2\x82\xb9) ?[0-9]|"
    rb"[0-9](?: |\xc2\xa0)?(?i:USD|EUR|GBP|CHF|dollar|\xe2\x82\xac|\xc2\xa3)",
    "part": rb"(?i)\bSKU\b|\b(?:part|model|item|article|product|catalog|catalogue) "
    rb"(?:number|no|code|ID)\b",
    "version": rb"(?i)\b(?:version|release|firmware) v?[0-9]|v[0-9][0-9.]|"
    rb"\b(?:latest|newest|current|recent|stable)[^.\n]* (?:version|release|build|edition|firmware)",
    "as_of": rb"(?i)\bas of (?:now|today|this|writing|my|the|end|start|begin|time|early|mid|late|[0-9]|jan|feb|mar|apr|"
    rb"may|jun|jul|aug|sep|oct|nov|dec)",
    "current": rb"(?i)\b(?:is|are) currently (?:led|head|own|run|pric|val|avail|on |out|in |held|"
    rb"rank|offer|worth)|\bthe current (?:CEO|chief|pres|prime|chanc|king|queen|pope|gov|mayor|"
    rb"champ|record|price|exch|inter|market)",
    "hours": rb"(?i)[0-9] ?(?:a\.?m|p\.?m|o'clock)\b|\b(?:opening|business|office|store) hours |"
    rb"\bopen 24/7|\b(?:open|closed) (?:on |daily|weekend|mon|tue|wed|thu|fri|sat|sun)",
    "policy": rb"(?i)\b(?:return|refund|exchange|cancell?ation|warranty|shipping|delivery)s? "
    rb"(?:policy|window|period)|\b(?:business|working) days|\bfree (?:shipping|delivery|returns) |"
    rb" within [0-9]+ (?:day|week|month|hour)|(?:day|week|month|year)s?(?:'|\xe2\x80\x99)? (?:return|refund|money|warranty|guarantee|"
    rb"free trial|trial)",
    "effective": rb"(?i)\b(?:effective|in effect|in force|expires?|deadline|due|applies|apply) "
    rb"(?:from|until|till|through|by|on|as of|since|is) (?:the |[0-9]|jan|feb|mar|apr|may|jun|jul|"
    rb"aug|sep|oct|nov|dec)",
}  # fmt: skip
"""Triggers of ``checks/facts.py``."""


def match_text(text: str) -> frozenset[str]:
    """Return the names of the expressions of ``TEXT`` that may match."""
    return _names(TEXT, text_patterns(), text)


def match_facts(text: str) -> frozenset[str]:
    """Return the names of the expressions of ``FACTS`` that may match."""
    return _names(FACTS, facts_patterns(), text)


@functools.cache
def text_patterns() -> Patterns:
    """Return the expressions of ``TEXT``, numbered in its order."""
    return compile_patterns([*TEXT.values()])


@functools.cache
def facts_patterns() -> Patterns:
    """Return the expressions of ``FACTS``, numbered in its order."""
    # Separate: with this many words at once, Hyperscan falls back to a search four times as slow.
    return compile_patterns([*FACTS.values()])


def _names(expressions: dict[str, bytes], patterns: Patterns, text: str) -> frozenset[str]:
    matches = patterns.scan(text.encode("utf-8", "surrogatepass"))
    if not matches:
        return _NOTHING
    names = [*expressions]
    return frozenset(names[number] for number, _ in matches)


_NOTHING: frozenset[str] = frozenset()
