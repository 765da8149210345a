"""Answers that teach facts which change: prices, part numbers, versions, dates, hours, policies.

A model that has learnt such a fact goes on telling it when it is no longer true. What the prompt
says too is no fact of the model's, so that an answer may repeat it. English only, but for sums of
money; the patterns would rather miss a fact than suspect a sentence without one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from ftwizard.data import triggers
from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import RESULTS, listed, texts, weight_of
from ftwizard.data.example import Example, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target

_WHAT = {
    "money": "a price",
    "part": "a part number",
    "version": "a version",
    "as_of": "a date up to which it holds",
    "current": "what is so at present",
    "hours": "opening hours",
    "policy": "a term of a policy",
    "effective": "a date from or until which it holds",
}

_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_HOUR = r"[0-9]{1,2}(?:[:.][0-9]{2})?"
_CLOCK = r"(?:a\.?m\b|p\.?m\b|o'clock\b)"
_AMOUNT = r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?"
_MONEY = (
    rf"(?:(?:\$|€|£|¥|₹) ?{_AMOUNT}|"
    rf"\b{_AMOUNT}[ \u00a0]?(?:USD|EUR|GBP|CHF|dollars?\b|euros?\b|€|£))"
)
# Whatever one of these matches, the expression of its name in triggers matches too.
PATTERNS: dict[str, str] = {
    "money": rf"{_MONEY} ?(?:/ ?|per |an? |each |every )(?:user|seat|month|mo\b|year|yr\b|annum|"
    r"night|hour|person|unit|licen[cs]e|ticket|item|GB)\b|"
    r"\b(?:prices?|priced|costs?|fees?|fare|subscription|plans?|tuition|rates?|starts?|starting|"
    r"retails?|sells?|available)\b[^.\n]{0,20}?(?:\b(?:is|are|at|of|from|for) |: ?)"
    rf"(?:about |around |only |just |approximately )?{_MONEY}|"
    rf"\bcosts? (?:about |around |only |just |approximately )?{_MONEY}",
    "part": r"\b(?:SKU|part (?:number|no\.?)|model (?:number|no\.?)|item (?:number|no\.?)|"
    r"article (?:number|no\.?)|catalog(?:ue)? (?:number|no\.?)|product (?:code|number|ID))"
    r"\b ?(?:is |: ?|# ?|= ?)?#?(?-i:[A-Z0-9][A-Z0-9/_-]{0,20}[0-9])",
    "version": r"\b(?:latest|newest|current|most recent|stable)\b[^.\n]{0,30}?"
    r" (?:version|release|build|edition|firmware)s?\b[^.\n]{0,40}?[0-9]+(?:\.[0-9]+)*|"
    r"\b(?:version|release|firmware) v?[0-9]+(?:\.[0-9]+)+\b|\bv[0-9]+\.[0-9]+\.[0-9]+\b",
    "as_of": r"\bas of (?:now\b|today\b|this writing|writing|my (?:last|latest|knowledge)|"
    r"(?:the )?(?:end|start|beginning|time) of|"
    rf"(?:early |mid-?|late )?(?:{_MONTH}\b|(?:19|20)[0-9]{{2}}|[0-9]{{1,2}}[./ -]))",
    "current": r"\b(?:is|are) currently (?:led|headed|owned|run|priced|valued|available|on sale|"
    r"out of stock|in stock|in office|held|ranked|offering|offered|worth)\b|"
    r"\bthe current (?:CEO|chief executive|president|prime minister|chancellor|king|queen|pope|"
    r"governor|mayor|champion|record holder|price|exchange rate|interest rate|market cap)\b",
    "hours": r"\b(?:open(?:ing)?|business|office|store|support|working|closing|visiting|"
    rf"check-?in|check-?out)\b[^.\n]{{0,40}}?\b{_HOUR} ?{_CLOCK}?\.? ?(?:-|–|—|to|until|till) ?"
    rf"{_HOUR} ?{_CLOCK}|\b(?:opening|business|office|store) hours (?:are|is)\b|\bopen 24/7|"
    r"\b(?:open|closed) (?:on )?(?:daily|weekends|(?:mon|tues|wednes|thurs|fri|satur|sun)days?)\b",
    "policy": r"\b(?:return|refund|exchange|cancell?ation|warranty|shipping|delivery)s? "
    r"(?:policy|window|period)\b[^.\n]{0,60}?\b[0-9]+|"
    r"\b(?:return|refund|exchange|cancel)[a-z]*\b[^.\n]{0,40}? within [0-9]+ (?:day|week|month|hour)s?\b|"
    r"\b[0-9]+[- ](?:business |working |calendar )?(?:day|week|month|year)s?(?:'|’)? "
    r"(?:return|refund|money[- ]back|warranty|guarantee|free trial|trial)\b|"
    r"\b(?:within|takes?|allow|up to) [0-9a-z]+(?: ?(?:-|–|to) ?[0-9a-z]+)? "
    r"(?:business|working) days\b|\bfree (?:shipping|delivery|returns) (?:on|over|for|above|within)\b",
    "effective": r"\b(?:effective|in effect|in force|expires?|deadline|due|applies|apply) "
    r"(?:from|until|till|through|by|on|as of|since|is) (?:the )?"
    rf"(?:[0-9]{{1,2}}(?:st|nd|rd|th)? (?:of )?)?{_MONTH}\b",
}  # fmt: skip
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# Part of a calculation: what is worked out is no price that is known by heart.
_RECKONED_AFTER = re.compile(r"\s?(?:[*×+=<÷]|[-−–/x]\s?[$€£¥₹]?\d)")
_RECKONED_BEFORE = re.compile(r"(?:[*×+=<÷−]|\btotal(?: of)?|\bsum of)\s?$", re.IGNORECASE)
_SHOWN = 60


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield that an answer of a row states what changes, once a row."""
    if example.kind not in ("chat", "preference", "labelled"):
        return
    answers = [text for answer in _answers(example) for text in texts(answer)]
    suspected = triggers.in_facts("\n".join(answers))
    if not suspected:
        return
    turns = listed(example.messages)
    if any(turn.get("role") in RESULTS for turn in turns):
        return  # what tools said is told again
    given = "\n".join(
        text for turn in turns if turn.get("role") != "assistant" for text in texts(turn)
    )
    for answer in answers:
        text = _FENCE.sub(" ", answer) if "```" in answer else answer
        for name in sorted(suspected):
            for match in _exact(PATTERNS[name]).finditer(text):
                if not _is_given(match[0], given) and not _is_reckoned(name, text, match):
                    yield _found(name, match[0])
                    return


@functools.cache
def _exact(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _answers(example: Example) -> list[Message]:
    turns = listed(example.messages)
    if example.kind == "preference":
        turns = listed(example.chosen)
    return [
        turn for turn in turns
        if turn.get("role") == "assistant" and not turn.get("tool_calls") and weight_of(turn)
    ]  # fmt: skip


def _is_given(found: str, given: str) -> bool:
    figures = re.findall(r"\d[\d.,:]*\d|\d", found)
    return found in given or (bool(figures) and all(figure in given for figure in figures))


def _is_reckoned(name: str, text: str, match: re.Match[str]) -> bool:
    if name != "money":
        return False
    for amount in _exact(_MONEY).finditer(text, match.start(), match.end() + 1):
        before, after = text[max(0, amount.start() - 12) : amount.start()], text[amount.end() :]
        if _RECKONED_BEFORE.search(before) or _RECKONED_AFTER.match(after, 0, 4):
            return True
    return "<<" in text or bool(_RECKONED_AFTER.match(text, match.end()))


def _found(name: str, words: str) -> Found:
    return Found(
        "changing_facts",
        f"an answer states {_WHAT[name]} (“{quoted(' '.join(words.split()), _SHOWN)}”): facts "
        "that change are learnt badly and go stale",
        "put such facts into the prompt, from where they are kept; let rows teach how to answer",
    )
