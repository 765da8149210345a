"""Prefilter for the checks of texts and secrets: one fast scan over the texts of many rows.

The exact checks take 50 microseconds or more per row, and nearly all rows have no findings. The
prefilter runs at hundreds of megabytes per second and matches wherever those checks find anything,
with some false positives, so only the matching rows need the exact checks.
"""

from __future__ import annotations

import functools

from ftwizard.data import personal, secret_rules, triggers
from ftwizard.data.patterns import compile_patterns
from ftwizard.data.secret_rules import Rule

RULES: tuple[Rule, ...] = (*secret_rules.RULES, *personal.RULES)
"""Rules for secrets and personal data. Of two overlapping matches, the earlier rule names both."""


class Prefilter:
    """All patterns, compiled once per process."""

    def __init__(self) -> None:
        coarse = [rule.coarse.encode("ascii") for rule in RULES]
        sources = list(dict.fromkeys((*triggers.TEXT.values(), *coarse)))
        self._patterns = compile_patterns(sources)
        self._rules: list[list[int]] = [[] for _ in sources]
        for order, source in enumerate(coarse):
            self._rules[sources.index(source)].append(order)

    def suspects(self, text: bytes) -> list[int]:
        """Return the offsets in ``text`` of possible findings, in any order.

        ``text`` is UTF-8: everything that ``texts`` yields for many rows, separated by line feeds,
        about a megabyte at a time. If the checks of texts or secrets would find anything in a row,
        at least one offset lies within that row. False positives are possible.

        A line of JSON can replace its texts if it is UTF-8 and has no escapes other than ``\\n``,
        ``\\r``, ``\\"`` and ``\\\\``.
        """
        return [offset for _, offset in self._patterns.scan(text)]

    def facts(self, text: bytes) -> list[int]:
        """Return the same for the check of volatile facts.

        Separate, because one in fifteen ordinary chat rows has a price, and few are such facts.
        """
        return [offset for _, offset in triggers.facts_patterns().scan(text)]

    def rules(self, text: str) -> set[int]:
        """Return the indices of the ``RULES`` that may match in ``text``."""
        matches = self._patterns.scan(text.encode("utf-8", "surrogatepass"))
        return {order for number, _ in matches for order in self._rules[number]}


@functools.cache
def get_prefilter() -> Prefilter:
    """Return the prefilter of this process."""
    return Prefilter()
