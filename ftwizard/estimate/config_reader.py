"""Validating reader for model configurations, which are untrusted input."""

from __future__ import annotations

from collections.abc import Mapping

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

HINT = "Use a causal language model that transformers supports, with a valid config.json."


class ConfigReader:
    """The values of one configuration, each validated when it is read."""

    def __init__(self, config: Mapping[str, object], source: str) -> None:
        self._config = config
        self._source = source

    def count(
        self, key: str, default: int | None = None, *, minimum: int = 1, maximum: int = 10_000_000
    ) -> int:
        """Return an integer, or ``default`` for a missing key or null.

        Raises FtwizardError unless it is an integer between ``minimum`` and ``maximum``.
        """
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise self.error(f"has no {key}")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            shown = visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not an integer from {minimum:,} to {maximum:,}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; raise FtwizardError for anything else."""
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            shown = visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not true or false")
        return value

    def indices(self, key: str, below: int) -> list[int] | None:
        """Return a list of block numbers below ``below``; None if missing. Raises FtwizardError."""
        value = self._config.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(index, int) and not isinstance(index, bool) and 0 <= index < below
            for index in value
        ):
            raise self.error(f"has a {key} that is not a list of block numbers below {below}")
        return sorted(set(value))

    def word(self, key: str) -> str | None:
        """Return a short string; None for anything else."""
        value = self._config.get(key)
        return value if isinstance(value, str) and len(value) <= 100 else None

    def part(self, key: str) -> ConfigReader | None:
        """Return the reader of a nested configuration; None if there is none."""
        value = self._config.get(key)
        return ConfigReader(value, self._source) if isinstance(value, Mapping) else None

    def error(self, problem: str) -> FtwizardError:
        """Build the error for a ``problem`` of this configuration."""
        return FtwizardError(f"The configuration of {visible(self._source, 200)} {problem}.", HINT)
