"""What a row loses, or has changed, on its way into another format."""

from __future__ import annotations

from ftwizard.data.checks.found import Found
from ftwizard.data.quoted import quoted

_SHOWN_KEYS = 5


class Losses:
    """The losses of one row, each code once."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._seen: set[str] = set()

    def say(self, code: str, message: str, fix: str) -> None:
        """Note a loss with which the row is written all the same."""
        if code not in self._seen:
            self._seen.add(code)
            self.found.append(Found(code, message, fix))

    def keys(self, keys: list[str], words: str) -> None:
        """Note fields that stay behind; ``words`` names the target."""
        if keys:
            self.say(
                "extra_keys",
                f"{words} does not take {listed(keys)}: left out of the row",
                "nothing is to be done, unless something there has to read it",
            )


def listed(keys: list[str]) -> str:
    """Return names of fields as a person reads them."""
    shown = ", ".join(f"“{quoted(str(key), 30)}”" for key in keys[:_SHOWN_KEYS])
    more = len(keys) - _SHOWN_KEYS
    return f"{shown} and {more:,} more" if more > 0 else shown
