"""Files of other tools that hold a loss curve, read as they grow: as the events of a run.

Nothing is ever written. A reader returns what is new; where a file was replaced, it begins anew and
says so by ``generation``.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import Event, LineReader, to_count
from ftwizard.runs import tensorboard, wandb_files
from ftwizard.runs.logged_rows import RowConverter, is_evaluation, is_final
from ftwizard.runs.tensorboard import EventFile, Scalar
from ftwizard.runs.wandb_files import HistoryFile
from ftwizard.text import format_count, make_visible

MAX_STATE_BYTES = 1 << 28
"""A larger ``trainer_state.json`` is refused: it can only be read as a whole."""
MAX_HEADER_BYTES = 1 << 16
MAX_ENTRIES = 5000
"""Files of a folder among which curves are looked for."""
MAX_DEPTH = 3
MAX_LISTED = 5
STATE_LAG_S = 600.0
"""Time for which a log may be older than a trainer's state and still be the newer of the two."""
STATE_NAME = "trainer_state.json"
_CURVES = ("loss", "reward")
"""Parts of the names of columns that are a curve."""
READ_KINDS = (
    "Read are: transformers' trainer_state.json or an output folder with checkpoint-*/, a folder of "
    "TensorBoard event files, a W&B run (wandb/offline-run-*/run-*.wandb), and a CSV, TSV or JSON Lines "
    "file with a loss column."
)


class CurveSource:
    """One curve in files of another tool."""

    kind = ""
    """The tool or format, for people."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        """Times that it began anew: what was returned before no longer counts."""
        self.total_steps: int | None = None
        self.is_complete = False
        """Whether the files say that the training ended."""
        self.exit_code = 0
        """Exit code of a training that ended, where the files say so."""
        self.has_more = False
        """Whether the last reading left something that is written already."""
        self.damage = ""
        """What could not be read, as a sentence."""
        self.trainer_state: TrainerState | None = None
        """The state of the same run in the same output folder, which knows its last step."""
        self._rows = RowConverter()

    def read(self, limit: int) -> list[Event]:
        """Return events of about ``limit`` new bytes, and set ``has_more``. Raises OSError."""
        raise NotImplementedError

    def list_files(self) -> list[Path]:
        """Return the files whose change means that the training makes progress."""
        return [self.path]

    def list_checkpoints(self) -> list[int]:
        """Return the steps of the checkpoints next to the files."""
        return self.trainer_state.list_checkpoints() if self.trainer_state else []

    def refresh(self) -> None:
        """Read what is known besides the curve: the number of steps, and whether all are done."""
        if self.trainer_state:
            self.trainer_state.read(MAX_STATE_BYTES)  # its rows are those of the curve
            self.total_steps = self.trainer_state.total_steps
            self.is_complete = self.is_complete or self.trainer_state.is_complete

    def read_changed(self) -> float | None:
        """Return when a file last changed, in Unix seconds; None if all are gone."""
        times = []
        for path in self.list_files():
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times, default=None)

    def _begin_anew(self) -> None:
        self.generation += 1
        self._rows = RowConverter()


class TrainerState(CurveSource):
    """The log history of transformers' trainer, which each checkpoint repeats as a whole."""

    kind = "trainer_state.json"

    def __init__(self, path: Path) -> None:
        """Read a file, or the newest of an output folder and its checkpoints."""
        super().__init__(path)
        self._read: tuple[Path, int, int] | None = None
        """File, size and time of change (ns) when it was last read."""
        self._last_row: object = None
        self._count = 0
        self._waiting: list[tuple[dict[str, Any], float]] = []

    def list_files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        return [*self.path.glob(f"checkpoint-*/{STATE_NAME}"), *self.path.glob(STATE_NAME)]

    def list_checkpoints(self) -> list[int]:
        folder = self.path if self.path.is_dir() else self.path.parent
        folder = folder.parent if folder.name.startswith("checkpoint-") else folder
        names = [path.name[11:] for path in folder.glob("checkpoint-*")]
        return sorted(int(name) for name in names if name.isdecimal())

    def read(self, limit: int) -> list[Event]:
        if not self._waiting:
            self.refresh()
        events: list[Event] = []
        count = max(1, limit // 256)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        for row, t in taken:
            events += self._rows.convert(row, t)
        if taken and not self._waiting:
            events += self._rows.flush(taken[-1][1])
        self.has_more = bool(self._waiting)
        return events

    def refresh(self) -> None:
        """Read the newest file if it changed."""
        statuses = []
        for path in self.list_files():
            with contextlib.suppress(OSError):
                statuses.append((path.stat(), path))
        if not statuses:
            return
        status, path = max(statuses, key=lambda item: item[0].st_mtime_ns)
        version = (path, status.st_size, status.st_mtime_ns)
        if version == self._read:
            return
        if status.st_size > MAX_STATE_BYTES:
            self.damage = f"{STATE_NAME} is too large to be read."
            return
        try:
            content = json.loads(path.read_bytes())
            history = content["log_history"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self.damage = f"{make_visible(str(path), 200)} could not be read as JSON of a trainer."
            return  # it may be being written: read again when it changes
        if not isinstance(history, list):
            return
        self.damage, self._read = "", version
        self.total_steps = to_count(content.get("max_steps")) or None
        step = to_count(content.get("global_step")) or 0
        self.is_complete = bool(self.total_steps and step >= self.total_steps)
        self._take(history, status.st_mtime)

    def _take(self, history: list[Any], t: float) -> None:
        """Take the rows that were added; all of them where the older ones are not those read before."""
        is_same = 0 < self._count <= len(history) and history[self._count - 1] == self._last_row
        if self._count and not is_same:
            self._begin_anew()
            self._waiting, self._count = [], 0
        self._waiting += [(row, t) for row in history[self._count :] if isinstance(row, dict)]
        self._count, self._last_row = len(history), history[-1] if history else None


class TensorBoard(CurveSource):
    """The scalars in all event files of one folder, the oldest file first."""

    kind = "TensorBoard"

    def __init__(self, path: Path) -> None:
        """Read an event file, or a folder of them."""
        super().__init__(path)
        self._files: dict[Path, EventFile] = {}
        self._group: dict[str, Any] = {}
        self._group_t = 0.0
        self._last_step: int | None = None

    def list_files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        return sorted(self.path.glob(f"*{tensorboard.MARK}*"))

    def read(self, limit: int) -> list[Event]:
        events: list[Event] = []
        for path in self.list_files():
            file = self._files.setdefault(path, EventFile(path))
            before, size = file.offset, path.stat().st_size
            if size < file.offset:  # it was written again
                self._begin_anew()
                self._files, self._group, self.has_more = {}, {}, True
                return []
            for scalar in file.read(limit):
                events += self._add(scalar)
            self.has_more = before < file.offset < size
            if self.has_more:
                return events
        self._describe_damage()
        return events + self._close_group()

    def _add(self, scalar: Scalar) -> list[Event]:
        """Add a scalar to the row of its step; return the events of the row before."""
        step = self._group.get("step")
        is_end = is_final(scalar.tag)
        # Transformers logs the summary, and what is evaluated after it, at the training's last step.
        is_after_end = any(map(is_final, self._group)) and is_evaluation(scalar.tag)
        is_other = step != scalar.step or scalar.tag in self._group or is_end or is_after_end
        events = self._close_group() if is_other else []
        if is_end or scalar.step != self._last_step:
            self.is_complete = is_end
        self._last_step = scalar.step
        self._group["step"] = scalar.step
        self._group[scalar.tag] = scalar.value
        self._group_t = scalar.t
        return events

    def _close_group(self) -> list[Event]:
        row, self._group = self._group, {}
        return self._rows.convert(row, self._group_t) if row else self._rows.flush(self._group_t)

    def _describe_damage(self) -> None:
        torn = sum(file.torn for file in self._files.values())
        cut = [file for file in self._files.values() if file.damaged_at is not None]
        parts = [f"{format_count(torn, 'damaged record')} skipped."] if torn else []
        for file in cut[:1]:
            name = make_visible(file.path.name, 100)
            parts.append(f"{name} is damaged at byte {file.damaged_at:,}; the rest was not read.")
        self.damage = " ".join(parts)


class WandbRun(CurveSource):
    """The history of one W&B run."""

    kind = "W&B"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = HistoryFile(path)

    def read(self, limit: int) -> list[Event]:
        if self.path.stat().st_size < self._file.offset:
            self._begin_anew()
            self._file = HistoryFile(self.path)
        t = self.read_changed() or time.time()
        before = self._file.offset
        rows = self._file.read(limit)
        events = [event for row in rows for event in self._rows.convert(row, t)]
        self.has_more = self._file.offset != before
        if not self.has_more:
            events += self._rows.flush(t)
        file = self._file
        if file.exit_code is not None:
            self.is_complete, self.exit_code = True, file.exit_code
        torn = file.torn + (file.damaged_at is not None)
        self.damage = f"{format_count(torn, 'damaged block')} skipped." if torn else ""
        if file.is_foreign:
            self.damage = "It does not begin like a file of W&B."
        return events


class Table(CurveSource):
    """A CSV, TSV or JSON Lines file that grows by lines."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._reader = _TableLines(path, self._begin_anew)
        self._names: list[str] = []
        self._delimiter = ","
        self._torn = 0
        self.kind = "JSON Lines" if path.suffix.lower() in (".jsonl", ".ndjson") else "CSV"

    def read(self, limit: int) -> list[Event]:
        lines = self._reader.read_lines(limit)
        t = self.read_changed() or time.time()
        self.has_more = bool(lines)
        if not lines:
            # A line without its end: it counts, and is replaced if it is still being written.
            tail = self._reader.read_tail()
            return [*self._convert(tail, t), *self._rows.flush(t)] if tail else self._rows.flush(t)
        events = [event for line in lines.splitlines() for event in self._convert(line, t)]
        if self._torn:
            self.damage = f"{format_count(self._torn, 'line')} could not be read."
        return events

    def list_foreign_columns(self) -> list[str]:
        """Return the columns of a table none of which is a loss or a reward; else nothing.

        Lines of JSON may have other names later, and a header may still be being written. Raises
        FtwizardError for a file that cannot be read.
        """
        if self.kind == "JSON Lines":
            return []
        try:
            with self.path.open("rb") as file:
                lines = file.read(MAX_HEADER_BYTES).splitlines(keepends=True)
        except OSError as error:
            name = make_visible(str(self.path), 200)
            raise FtwizardError(f"{name} could not be read: {error.strerror}.") from error
        for line in lines:
            text = line.decode("utf-8-sig", "replace")
            if text.strip() and not text.startswith("#"):
                names = self._split(text.strip(), max(",\t;", key=text.count))
                is_curve = any(word in name.lower() for name in names for word in _CURVES)
                return names if text.endswith(("\n", "\r")) and not is_curve else []
        return []

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._names, self._torn = [], 0

    def _convert(self, line: bytes, t: float) -> list[Event]:
        text = line.decode("utf-8-sig", "replace").strip("\r\n")
        if not text.strip() or text.startswith("#"):
            return []
        row = self._parse_json(text) if self.kind == "JSON Lines" else self._parse_cells(text)
        return self._rows.convert(row, t) if row else []

    def _parse_json(self, text: str) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            self._torn += 1
            return {}
        return row if isinstance(row, dict) else {}

    def _parse_cells(self, text: str) -> dict[str, Any]:
        if not self._names:
            self._delimiter = max(",\t;", key=text.count)
            self._names = self._split(text, self._delimiter)
            return {}
        # With semicolons as delimiters, a comma is the decimal point.
        comma = self._delimiter == ";"
        cells = [
            cell.replace(",", ".") if comma else cell for cell in self._split(text, self._delimiter)
        ]
        if len(cells) != len(self._names):
            self._torn += 1
        return {
            name: number
            for name, cell in zip(self._names, cells, strict=False)
            if (number := _parse_number(cell)) is not None
        }

    def _split(self, text: str, delimiter: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            return []


class _TableLines(LineReader):
    def __init__(self, path: Path, begin_anew: Callable[[], None]) -> None:
        super().__init__(path)
        self._begin = begin_anew
        self._tail = b""

    def restart(self) -> None:
        if self.offset:
            self._begin()
        super().restart()

    def read_tail(self) -> bytes:
        """Return the bytes after the last line, if they are others than at the last call."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            tail = file.read(MAX_HEADER_BYTES)
        is_new, self._tail = tail != self._tail and b"\n" not in tail, tail
        return tail if is_new else b""


def _parse_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def open_source(path: Path) -> CurveSource:
    """Return the curve at a path: a file, or a folder with one run in it.

    Raises FtwizardError where there is none, and where a folder has several.
    """
    name = make_visible(str(path), 200)
    if path.is_file():
        if (source := _open_file(path)) is None:
            raise FtwizardError(f"{name} is not a log that can be watched.", READ_KINDS)
        if isinstance(source, Table) and (columns := source.list_foreign_columns()):
            listed = make_visible(", ".join(columns), 200)
            raise FtwizardError(
                f"{name} contains no loss curve. Its columns: {listed}.", READ_KINDS
            )
        return source
    sources = list(_find_sources(path))
    if not sources:
        raise FtwizardError(f"{name} contains no loss curve.", READ_KINDS)
    sources.sort(key=_rate, reverse=True)
    if len(sources) > 1 and not _is_one_run(sources):
        listed = "  ".join(make_visible(str(source.path), 200) for source in sources[:MAX_LISTED])
        more = f"  and {len(sources) - MAX_LISTED} more" if len(sources) > MAX_LISTED else ""
        raise FtwizardError(
            f"{name} contains {len(sources)} curves.",
            f"Name one, the newest first: {listed}{more}",
            candidates=tuple(str(source.path) for source in sources),
        )
    newest, *others = sources
    newest.trainer_state = next((s for s in others if isinstance(s, TrainerState)), None)
    newest.refresh()
    return newest


def _rate(source: CurveSource) -> float:
    """Return when a curve last changed; a log that grows with each step comes before the state that
    only checkpoints write."""
    changed = source.read_changed() or 0.0
    return changed if isinstance(source, TrainerState) else changed + STATE_LAG_S


def is_log(path: Path) -> bool:
    """Return whether a file's name is that of a binary log: TensorBoard's or W&B's."""
    return tensorboard.MARK in path.name or path.name.endswith(wandb_files.ENDING)


def _is_one_run(sources: list[CurveSource]) -> bool:
    """Return whether a trainer's output folder has one log of each tool, all of the same run."""
    kinds = [source.kind for source in sources]
    return TrainerState.kind in kinds and len(set(kinds)) == len(kinds)


def _open_file(path: Path) -> CurveSource | None:
    name = path.name.lower()
    if tensorboard.MARK in name:
        return TensorBoard(path)
    if name.endswith(wandb_files.ENDING):
        return WandbRun(path)
    if name == STATE_NAME or (name.endswith(".json") and _is_trainer_state(path)):
        return TrainerState(path)
    if name.endswith((".csv", ".tsv", ".jsonl", ".ndjson")):
        return Table(path)
    return None


def _is_trainer_state(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return b'"log_history"' in file.read(1 << 20)
    return False


def _find_sources(folder: Path) -> Iterator[CurveSource]:
    """Yield the curves in a folder, also those in its subfolders."""
    state = TrainerState(folder)
    if state.list_files():
        yield state
    boards: set[Path] = set()
    for path in _walk(folder, MAX_DEPTH):
        if tensorboard.MARK in path.name:
            boards.add(path.parent)
        elif path.name.endswith(wandb_files.ENDING):
            yield WandbRun(path)
    # add_hparams writes a folder of its own below that of the scalars.
    for board in sorted(boards):
        if not any(parent in boards for parent in board.parents):
            yield TensorBoard(board)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files in a folder and in its subfolders; links to folders are not followed."""
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
                if entry.is_file():
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
    except OSError:
        return
    for inner in sorted(folders) if depth > 0 else ():
        yield from _walk(inner, depth - 1)
