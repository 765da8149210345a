"""Run search of the home page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.runs import search
from ftwizard.runs.follower import Follower
from ftwizard.runs.search import RunFields


class RunSearch:
    """Keeps the query and the settings from the plans read so far."""

    def __init__(self) -> None:
        self.text = ""
        self.is_open = False
        self._settings: dict[str, dict[str, Any]] = {}

    def load_settings(self, followers: Mapping[str, Follower]) -> None:
        """Read plans not read yet; call it in a thread, because their reader is slow to import."""
        for id, follower in list(followers.items()):
            if id not in self._settings:
                self._settings[id] = search.read_settings(follower.folder)
        for id in [id for id in self._settings if id not in followers]:
            del self._settings[id]

    def find_runs(
        self, followers: Mapping[str, Follower]
    ) -> tuple[list[Follower], tuple[str, ...]]:
        """Return the matching runs, newest first, and messages if none match."""
        newest = list(followers.values())[::-1]
        if not self.text.strip():
            return newest, ()
        try:
            terms = search.parse([self.text])
        except FtwizardError as error:
            return [], (error.message, error.hint)
        fields = [self._get_fields(follower) for follower in newest]
        matching = [
            follower
            for follower, run_fields in zip(newest, fields, strict=True)
            if search.matches_all(terms, run_fields)
        ]
        return matching, () if matching else search.explain_no_match(terms, fields)

    def _get_fields(self, follower: Follower) -> RunFields:
        return search.from_status(follower.run_status, self._settings.get(follower.folder.id, {}))
