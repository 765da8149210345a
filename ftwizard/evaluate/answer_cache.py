"""Answers kept by content, so that no model is asked the same twice.

The key of an answer is a hash of all that it depends on: weights, adapter, precision, tokens of the
prompt, limit. One SQLite file is safe for several processes, and for a kill at any moment (not for
a power cut: what is damaged then is replaced). It is a cache: where it cannot be read or written, answers are computed, and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import hash_file
from ftwizard.models import weight_files
from ftwizard.runs import base_weights
from ftwizard.runs.evaluation import ItemAnswer

FILE = "answers.sqlite"
MAX_ANSWERS = 200_000
"""Answers kept, about 100 MB; the longest unused are deleted first."""
KEPT_SHARE = 0.8
"""Share of ``MAX_ANSWERS`` that is left when it is reached."""
BUSY_S = 10.0
"""Wait for another process that writes."""
_QUERY_KEYS = 500
_SCHEMA = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB NOT NULL, used REAL NOT NULL);
CREATE TABLE IF NOT EXISTS digests (stamp TEXT PRIMARY KEY, digest TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_used ON answers (used);
"""


def make_key(*parts: Any) -> str:
    """Return a hash of ``parts``: values that msgspec can encode."""
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(parts, order="deterministic"))


def user_cache() -> Path:
    """Return the path of the user's cache, in the folder of files that can be recreated."""
    return locations.cache_folder() / "evaluation" / FILE


class AnswerCache:
    """The cache in one file. Without a path, or where it cannot be opened, nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._database = _open(path) if path else None

    def get(self, keys: Sequence[str]) -> dict[str, ItemAnswer]:
        """Return the answers kept for ``keys``, by key."""
        answers: dict[str, ItemAnswer] = {}
        with self._use() as database:
            for start in range(0, len(keys), _QUERY_KEYS):
                part = keys[start : start + _QUERY_KEYS]
                marks = f"({','.join('?' * len(part))})"
                rows = database.execute(
                    f"SELECT key, answer FROM answers WHERE key IN {marks}", part
                ).fetchall()
                for key, data in rows:
                    with contextlib.suppress(msgspec.MsgspecError):  # of another version
                        answers[key] = msgspec.json.decode(data, type=ItemAnswer)
                database.execute(
                    f"UPDATE answers SET used = ? WHERE key IN {marks}", (time.time(), *part)
                )
        return answers

    def put(self, key: str, answer: ItemAnswer) -> None:
        """Keep an answer, without its score."""
        bare = msgspec.structs.replace(answer, score=None)
        with self._use() as database:
            database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                (key, msgspec.json.encode(bare), time.time()),
            )

    def hash_weights(self, model: Path) -> str:
        """Return a hash of a model's or an adapter's weights and settings.

        Large files are hashed once: after that, the same device, inode, size and times count as the
        same content (``runs/base_weights.py``).
        """
        names = [path.name for path in weight_files.list_files(model)]
        parts = [(name, self._hash_large(model / name)) for name in sorted(names)]
        small = [*model.glob("*config.json"), *model.glob("adapter_model.bin")]
        parts += [(path.name, hash_file(path)) for path in sorted(small)]
        return make_key(parts)

    def _hash_large(self, path: Path) -> str:
        stamp = msgspec.json.encode(base_weights.read_stamp(path)).decode()
        with self._use() as database:
            row = database.execute("SELECT digest FROM digests WHERE stamp = ?", (stamp,))
            for (digest,) in row:
                return str(digest)
        digest = hash_file(path)
        with self._use() as database:
            database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (stamp, digest))
        return digest

    def close(self) -> None:
        """Delete the longest unused answers above the limit, and close the file."""
        with self._use() as database:
            (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
            if count > MAX_ANSWERS:
                database.execute(
                    "DELETE FROM answers WHERE key IN "
                    "(SELECT key FROM answers ORDER BY used LIMIT ?)",
                    (count - int(MAX_ANSWERS * KEPT_SHARE),),
                )
        if self._database:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Yield the database in a transaction, which is skipped where the file cannot be used."""
        if self._database is None:
            self._database = sqlite3.connect(":memory:")
            self._database.executescript(_SCHEMA)
        try:
            with self._database:
                yield self._database
        except sqlite3.OperationalError:
            pass  # busy for long, or the disk is full: the next one may succeed
        except sqlite3.DatabaseError:
            self._database = None


def _open(path: Path) -> sqlite3.Connection | None:
    """Open or create the file, readable by the owner only; a damaged one is replaced."""
    try:
        locations.create_private_folder(path.parent)
        for _ in range(2):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            database = sqlite3.connect(path, timeout=BUSY_S)
            try:
                database.executescript(_SCHEMA)
                database.execute("SELECT count(*) FROM answers")
                return database
            except sqlite3.OperationalError:
                database.close()
                return None
            except sqlite3.DatabaseError:
                database.close()
                path.unlink(missing_ok=True)
    except (OSError, FtwizardError, sqlite3.Error):
        pass
    return None
