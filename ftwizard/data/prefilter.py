"""Which rows are worth a closer look: one fast pass over the text of many.

The checks of texts and of secrets look at a row with dozens of patterns and tables, 50 microseconds
a row and more. Nearly all rows hold nothing of the kind. What is here matches wherever those
checks find anything (and now and then where they do not), at hundreds of megabytes a second, so
that only the rows it points at go on to them.
"""

from __future__ import annotations

import functools

from ftwizard.data import personal, secret_rules, triggers
from ftwizard.data.patterns import compile_patterns
from ftwizard.data.secret_rules import Rule

RULES: tuple[Rule, ...] = (*secret_rules.RULES, *personal.RULES)
"""Secrets and personal data. Of two that overlap, the first in this order names both."""


class Prefilter:
    """All patterns, compiled once a process."""

    def __init__(self) -> None:
        coarse = [rule.coarse.encode("ascii") for rule in RULES]
        sources = list(dict.fromkeys((*triggers.TEXT.values(), *coarse)))
        self._patterns = compile_patterns(sources)
        self._rules: list[list[int]] = [[] for _ in sources]
        for order, source in enumerate(coarse):
            self._rules[sources.index(source)].append(order)

    def suspects(self, text: bytes) -> list[int]:
        """Return an offset in ``text`` for each place that is worth a closer look, in any order.

        ``text`` is UTF-8: all that ``texts`` yields of many rows, line feeds between, about a
        megabyte at a time. If the checks of texts or of secrets find anything in a row, then one
        offset is within that row's part; the caller knows where each begins. A row can have
        several, and one can be of no account.

        A line of JSON can stand for its texts if it is UTF-8 and has no other escapes than
        ``\\n``, ``\\r``, ``\\"`` and ``\\\\``: what is looked for reads the same in it.
        """
        return [offset for _, offset in self._patterns.scan(text)]

    def facts(self, text: bytes) -> list[int]:
        """Return the same for the check of facts that change. Apart: prices are in one row of
        fifteen of ordinary chats, and few of them are found to be such facts."""
        return [offset for _, offset in triggers.facts_patterns().scan(text)]

    def rules(self, text: str) -> set[int]:
        """Return the numbers of those of ``RULES`` that may match in ``text``."""
        found = self._patterns.scan(text.encode("utf-8", "surrogatepass"))
        return {order for number, _ in found for order in self._rules[number]}


@functools.cache
def prefilter() -> Prefilter:
    """Return the process's own."""
    return Prefilter()
