"""Many patterns over one block of bytes at once, by hyperscan, or by ``re`` where it has none.

Patterns are of the syntax that both read alike: no look-around, no back references, classes of
ASCII or of single bytes; ``(?i:…)`` for ASCII letters of both cases; ``^`` is the block's start.
They match bytes: characters beyond ASCII are written out as UTF-8.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ftwizard import settings
from ftwizard.errors import FtwizardError


class Patterns(Protocol):
    """Patterns ready to be looked for."""

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        """Return the number of a pattern and an offset within one match, for each match.

        Of matches that overlap, each is told.
        """


def compile_patterns(sources: Sequence[bytes]) -> Patterns:
    """Return the patterns, compiled for this processor: 60 ms for a hundred, the first time."""
    try:
        return _Hyperscan(sources)
    except ImportError:  # no wheel for this processor
        return Plain(sources)


class _Hyperscan:
    def __init__(self, sources: Sequence[bytes]) -> None:
        import hyperscan

        file = _kept(sources, hyperscan.__version__)  # type: ignore[attr-defined]
        self._database = _loaded(file)
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
            _keep(file, hyperscan.dumpb(self._database))
        self._scratch = threading.local()  # one scan at a time in each

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        scratch = getattr(self._scratch, "own", None)
        if scratch is None:
            scratch = self._scratch.own = self._database.scratch.clone()
        found: list[tuple[int, int]] = []
        add = found.append

        def matched(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            add((number, end - 1))

        self._database.scan(block, match_event_handler=matched, scratch=scratch)
        return found


def _kept(sources: Sequence[bytes], version: str) -> Path:
    """Return the file of these patterns, compiled by this hyperscan on a processor like this."""
    key = hashlib.sha256(b"\n".join([*sources, version.encode(), platform.processor().encode()]))
    return settings.cache() / "patterns" / f"{key.hexdigest()[:24]}.hs"


def _loaded(file: Path) -> Any:
    """Return the data base that was kept, None where there is none for this processor.

    Only a file that nobody else can have written is read: what it holds is run, not parsed.
    """
    import hyperscan

    try:
        about = file.lstat()
        if about.st_uid != os.geteuid() or about.st_mode & 0o7777 != 0o600:
            return None
        database = hyperscan.loadb(file.read_bytes(), hyperscan.HS_MODE_BLOCK)
        database.scratch = hyperscan.Scratch(database)
    except (OSError, hyperscan.HyperscanError):
        return None
    return database


def _keep(file: Path, data: bytes) -> None:
    with contextlib.suppress(OSError, FtwizardError):  # it is compiled again, then
        settings.private_folder(file.parent)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
        with open(descriptor, "wb") as new:
            new.write(data)
        Path(name).replace(file)


class Plain:
    """The same by Python's ``re``: tens of times slower."""

    def __init__(self, sources: Sequence[bytes]) -> None:
        self._patterns = [re.compile(source) for source in sources]

    def scan(self, block: bytes) -> list[tuple[int, int]]:
        return list(self._matches(block))

    def _matches(self, block: bytes) -> Iterator[tuple[int, int]]:
        for number, pattern in enumerate(self._patterns):
            match = pattern.search(block)
            while match:
                # A match of re takes what it can, maybe beyond the row it began in, and may begin
                # with the byte before it.
                yield number, match.start()
                yield number, match.end() - 1
                match = pattern.search(block, match.start() + 1)
