"""The search of home: what is typed, held against what is known of each run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftwizard import run_search
from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.run_search import Facts


class Search:
    """Keeps the words and the settings of the plans that were read."""

    def __init__(self) -> None:
        self.text = ""
        self.is_open = False
        self._settings: dict[str, dict[str, Any]] = {}

    def learn(self, followers: Mapping[str, Follower]) -> None:
        """Read the plans that were not read yet; for a thread: what reads them is slow to import."""
        for id, one in list(followers.items()):
            if id not in self._settings:
                self._settings[id] = run_search.settings_of(one.folder)
        for id in [id for id in self._settings if id not in followers]:
            del self._settings[id]

    def found(self, followers: Mapping[str, Follower]) -> tuple[list[Follower], tuple[str, ...]]:
        """Return the runs that match, newest first, and what to say where none does."""
        newest = list(followers.values())[::-1]
        if not self.text.strip():
            return newest, ()
        try:
            terms = run_search.parse([self.text])
        except FtwizardError as error:
            return [], (error.message, error.hint)
        facts = [self._facts(one) for one in newest]
        matching = [
            one
            for one, known in zip(newest, facts, strict=True)
            if run_search.matching(terms, known)
        ]
        return matching, () if matching else run_search.nothing(terms, facts)

    def _facts(self, one: Follower) -> Facts:
        return run_search.facts_of(one.report, self._settings.get(one.folder.id, {}))
