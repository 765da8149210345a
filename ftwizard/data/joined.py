"""Union-find over integers."""

from __future__ import annotations

from collections.abc import Iterable


class UnionFind:
    """Disjoint sets of integers that can be joined."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, item: int) -> int:
        """Return the representative of the item's set."""
        parent = self._parents.get(item, item)
        while parent != item:
            above = self._parents.get(parent, parent)
            self._parents[item] = above
            item, parent = parent, above
        return item

    def join(self, a: int, b: int) -> None:
        """Join the sets of two items."""
        low, high = sorted((self.root(a), self.root(b)))
        self._parents[high] = low

    def groups(self) -> Iterable[list[int]]:
        """Return the items of each set."""
        groups: dict[int, list[int]] = {}
        for item in list(self._parents):
            root = self.root(item)
            groups.setdefault(root, [root]).append(item)
        return groups.values()
