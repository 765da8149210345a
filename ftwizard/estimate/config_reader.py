"""A model's configuration read key by key: it comes from strangers, so nothing in it is believed."""

from __future__ import annotations

from collections.abc import Mapping

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

HINT = "The config.json of a causal language model that transformers knows has whole numbers there."


class ConfigReader:
    """The values of one configuration; each is refused unless it is what its key means."""

    def __init__(self, config: Mapping[str, object], source: str) -> None:
        self._config = config
        self._source = source

    def count(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = 10_000_000
    ) -> int:
        """Return a whole number; ``default`` stands for a missing key and for null.

        Raises FtwizardError for what is no whole number between ``least`` and ``most``.
        """
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise self.error(f"has no {key}")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not a whole number from {least:,} to {most:,}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; raise FtwizardError for anything else."""
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            shown = visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, which is neither true nor false")
        return value

    def indices(self, key: str, below: int) -> list[int] | None:
        """Return a list of block numbers, None where it is missing; raise FtwizardError."""
        value = self._config.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(one, int) and not isinstance(one, bool) and 0 <= one < below for one in value
        ):
            raise self.error(f"has a {key} that is no list of block numbers below {below}")
        return sorted(set(value))

    def word(self, key: str) -> str | None:
        """Return a short text, None for anything else."""
        value = self._config.get(key)
        return value if isinstance(value, str) and len(value) <= 100 else None

    def part(self, key: str) -> ConfigReader | None:
        """Return the reader of a nested configuration, None where there is none."""
        value = self._config.get(key)
        return ConfigReader(value, self._source) if isinstance(value, Mapping) else None

    def error(self, what: str) -> FtwizardError:
        """Return the error that says ``what`` of this configuration."""
        return FtwizardError(f"The configuration of {visible(self._source, 200)} {what}.", HINT)
