"""Sets that grow together (union-find)."""

from __future__ import annotations

from collections.abc import Iterable


class Joined:
    """Sets that grow together (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, one: int) -> int:
        parent = self._parents.get(one, one)
        while parent != one:
            above = self._parents.get(parent, parent)
            self._parents[one] = above
            one, parent = parent, above
        return one

    def join(self, one: int, other: int) -> None:
        one, other = sorted((self.root(one), self.root(other)))
        self._parents[other] = one

    def groups(self) -> Iterable[list[int]]:
        found: dict[int, list[int]] = {}
        for one in list(self._parents):
            root = self.root(one)
            found.setdefault(root, [root]).append(one)
        return found.values()
