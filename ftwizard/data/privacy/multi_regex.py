"""Multi-pattern search over bytes, by Hyperscan or, where it is unavailable, by ``re``.

Patterns use the syntax that both support: no lookaround, no back-references, classes of ASCII
characters or single bytes, ``(?i:…)`` for ASCII letters of both cases, ``^`` for the start of the
block. They match bytes; non-ASCII characters are written as UTF-8.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ftwizard import locations
from ftwizard.errors import FtwizardError


class Patterns(Protocol):
    """Compiled patterns."""

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        """Return the pattern number and an offset within the match, for each match.

        Overlapping matches are all reported.
        """


def compile_patterns(sources: Sequence[bytes]) -> Patterns:
    """Compile patterns for this CPU; the first time takes 60 ms for a hundred."""
    try:
        return _Hyperscan(sources)
    except ImportError:  # no wheel for this CPU
        return RePatterns(sources)


class _Hyperscan:
    def __init__(self, sources: Sequence[bytes]) -> None:
        import hyperscan

        file = _cache_file(sources, hyperscan.__version__)  # type: ignore[attr-defined]
        self._database = _load(file)
        if self._database is None:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            numbers = list(range(len(sources)))
            try:
                self._database.compile(
                    expressions=sources, ids=numbers, elements=len(sources),
                    flags=[0] * len(sources),
                )  # fmt: skip
            except hyperscan.ArchitectureError as error:
                raise ImportError(str(error)) from error
            _save(file, hyperscan.dumpb(self._database))
        self._scratch = threading.local()  # each allows one scan at a time

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        scratch = getattr(self._scratch, "own", None)
        if scratch is None:
            scratch = self._scratch.own = self._database.scratch.clone()
        matches: list[tuple[int, int]] = []
        add = matches.append

        def matched(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            add((number, end - 1))

        self._database.scan(block, match_event_handler=matched, scratch=scratch)
        return matches


def _cache_file(sources: Sequence[bytes], version: str) -> Path:
    """Return the cache file of these patterns for this Hyperscan version and CPU."""
    key = hashlib.sha256(b"\n".join([*sources, version.encode(), platform.processor().encode()]))
    return locations.cache_folder() / "patterns" / f"{key.hexdigest()[:24]}.hs"


def _load(file: Path) -> Any:
    """Return the cached database, or None if there is none for this CPU.

    Only a file that no one else can have written is loaded, because its contents are executed.
    """
    import hyperscan

    try:
        status = file.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o7777 != 0o600:
            return None
        database = hyperscan.loadb(file.read_bytes(), hyperscan.HS_MODE_BLOCK)
        database.scratch = hyperscan.Scratch(database)
    except (OSError, hyperscan.HyperscanError):
        return None
    return database


def _save(file: Path, data: bytes) -> None:
    with contextlib.suppress(OSError, FtwizardError):  # it will be compiled again
        locations.create_private_folder(file.parent)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
        with open(descriptor, "wb") as new:
            new.write(data)
        Path(name).replace(file)


class RePatterns:
    """The same search with ``re``, tens of times slower."""

    def __init__(self, sources: Sequence[bytes]) -> None:
        self._patterns = [re.compile(source) for source in sources]

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        matches: list[tuple[int, int]] = []
        for number, pattern in enumerate(self._patterns):
            match = pattern.search(block)
            while match:
                # A match of re can start one byte before the row and extend beyond it, so report
                # both ends.
                matches += ((number, match.start()), (number, match.end() - 1))
                match = pattern.search(block, match.start() + 1)
        return matches
