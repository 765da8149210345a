"""The folder of a job: its file names, their contents, and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import xxhash

from ftwizard.errors import FtwizardError
from ftwizard.jobs.identity import Identity

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
HASHED_BYTES = 1 << 20
"""Read at once for a hash: a block that stays in the processor's cache."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
DISK_ERRORS = (errno.EIO, errno.EROFS, errno.ESTALE, errno.EUCLEAN, errno.EREMOTEIO)
"""Errors of a disk that fails: broken, read-only, or a network disk that is away."""
RETRY_S = 0.3
"""Time after which a file that a failing disk did not take is written once more."""
_T = TypeVar("_T")
StopCause = Literal["user", "time_limit", "signal"]
"""``time_limit``: the Slurm job is near its end. ``signal``: somebody ended the keeper, such as a
scheduler or a machine that goes down."""


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    step: int
    """The step of the checkpoint that the child started from; 0 for the base weights."""
    changes: dict[str, tuple[Any, Any]]
    """Settings that differ in the plan, by name: the old and the new value."""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``job.json``: what the job is. The launcher writes it once."""

    kind: str
    """``train`` for a run."""
    argv: list[str]
    """The command to supervise; the job folder is its last argument."""
    version: str
    """ftwizard's version."""
    created: float
    """Unix seconds."""
    hashes: dict[str, str] = {}
    """Hashes of the inputs: ``train``, ``validation`` and ``test`` (files), ``split``, ``model``,
    ``template``."""
    inputs: dict[str, Any] = {}
    """What the worker needs besides the plan, such as the source of the model."""
    parent: Parent | None = None
    """The run that this run was branched from."""
    plan: dict[str, Any] | None = None
    """The plan that it started with; None in runs of versions that kept none here."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """``attempts/<n>.json``: one start of the job. The launcher writes it."""

    number: int
    """1 for the first start."""
    started: float
    """Unix seconds."""
    host: str
    argv: list[str]
    checkpoint: str | None = None
    """The checkpoint it continues from, relative to the job folder."""
    inputs: dict[str, Any] = {}
    """Inputs that replace those of the job from this attempt on."""
    plan: dict[str, Any] | None = None
    """The plan in force, which the command reads instead of ``plan.yaml``: that may be edited."""
    changes: dict[str, tuple[Any, Any]] = {}
    """Settings that differ from the attempt before, by name: the old and the new value."""
    damaged: dict[str, list[str]] = {}
    """Checkpoints that this start set aside, with their damaged files."""
    slurm_job: int | None = None
    """The Slurm job in which it started."""
    restart_after_s: tuple[float, ...] = ()
    """Seconds before each further start of a command that ended unexpectedly; none: it is started
    once."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """``state.json``: the keeper's view of the job. Replaced atomically."""

    state: str
    """``queued``, ``starting``, ``running``, ``stopping`` or ``ended``."""
    attempt: int
    """While ``queued``, the number of the attempt to come."""
    slurm_job: int | None = None
    """The Slurm job that it waits for, or runs in."""
    stop_cause: StopCause | None = None
    """What asked it to stop."""
    end_reason: str | None = None
    """Why it ended; while ``starting``, why its command is started again."""
    returncode: int | None = None
    """Exit status of the command; negative for a signal."""
    keeper: Identity | None = None
    command: Identity | None = None
    started: float | None = None
    """Unix seconds."""
    ended: float | None = None
    seconds: float | None = None
    """Duration of the attempt by the monotonic clock, once it ended."""
    orphans: int = 0
    """Processes that the command left behind and the keeper killed."""
    done: dict[str, Any] | None = None
    """The command's ``done`` event, where the disk did not take its events, or the keeper's own."""

    @property
    def is_self_kept(self) -> bool:
        """Return whether the command is a process of the user's own, without a keeper."""
        return self.keeper is not None and self.keeper == self.command


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """``result.json``: the result of an attempt that succeeded. Each kind of job adds its fields."""

    end_reason: str
    attempt: int


class _Entry:
    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: JobFolder, owner: type[JobFolder]) -> Path:
        return folder.path / self._name


class JobFolder:
    """Paths of one job; all its files are private to the owner (0700, 0600)."""

    plan = _Entry("plan.yaml")
    job = _Entry("job.json")
    lock = _Entry("lock")
    state = _Entry("state.json")
    heartbeat = _Entry("heartbeat")
    pace = _Entry("pace.json")
    events = _Entry("events.jsonl")
    summary = _Entry("progress.msgpack")
    """What the events say so far, for views of a long run."""
    log = _Entry("worker.log")
    result = _Entry("result.json")
    requests = _Entry("requests")
    checkpoints = _Entry("checkpoints")
    trained = _Entry("trained.json")
    prediction = _Entry("predicted.json")
    base = _Entry("base.json")
    """Hashes of the base weights that the run loaded."""
    ranks = _Entry("ranks")
    """Folder of the processes that train together."""
    certificates = _Entry("certificates")
    """Folder of what resumed attempts continued with."""
    origin = _Entry("origin")
    """Folder of the weights that a child run starts from."""
    adapter = _Entry("adapter")
    merged = _Entry("merged")
    exports = _Entry("export")
    """A folder for each form."""
    evaluations = _Entry("eval")
    items = _Entry("eval/items.jsonl")
    baseline = _Entry("eval/baseline.json")
    evaluation = _Entry("eval/evaluation.json")
    card = _Entry("card.md")
    """The model card."""
    remote = _Entry("remote.json")
    """The record of a hosted job."""
    script = _Entry("job.sbatch")
    """The batch script of a run that Slurm starts."""
    submission = _Entry("slurm.json")
    """What Slurm was asked to start."""
    token = _Entry("slurm.token")
    """A word by which a node recognizes the folder, if it has the same disk."""
    script_exit = _Entry("slurm.exit")
    """Job id and exit status of the batch script that ended last."""
    upload = _Entry("upload")
    """Folder of the files for a hosted platform."""
    ballast = _Entry("ballast")
    """Reserved blocks that the keeper frees to write its last state on a full disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    @property
    def link(self) -> Path:
        """Return a path that leads to the folder for as long as this object lives."""
        return self._path

    @property
    def id(self) -> str:
        return self.path.name

    def machine(self, host: str) -> Path:
        """Return the file of the keeper's samples of one node."""
        return self.path / f"machine.{re.sub(r'[^A-Za-z0-9._-]', '_', host)}.jsonl"

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number}.json"

    def newest_attempt(self) -> int:
        """Return the number of the newest start, 0 before the first."""
        try:
            names = [path.name for path in (self.path / "attempts").iterdir()]
        except FileNotFoundError:
            return 0
        numbers = [int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()]
        return max(numbers, default=0)

    def read_job(self) -> JobRecord:
        return _read(self.job, JobRecord)

    def read_attempt(self, number: int) -> Attempt:
        return _read(self.attempt(number), Attempt)

    def read_state(self) -> State | None:
        """Return the newest ``state.json``; None if there is none or it is damaged."""
        try:
            return _read(self.state, State)
        except (FileNotFoundError, FtwizardError):
            return None


class HeldFolder(JobFolder):
    """A job's folder as its own processes hold it: they follow it where it is moved.

    A folder that was removed has a path below which nothing can be created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute())
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = os.fstat(self._descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)

    @property
    def path(self) -> Path:
        if self._is_at(self._path):
            return self._path
        with contextlib.suppress(OSError):
            moved = self.link.readlink()
            if self._is_at(moved):
                self._path = moved
                return moved
        return self.link

    @property
    def link(self) -> Path:
        return Path(f"/proc/self/fd/{self._descriptor}")

    @property
    def id(self) -> str:
        return self.locate().name

    def locate(self) -> Path:
        """Return where the folder is; its last place if it was removed."""
        return self._path if self.path == self.link else self.path

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), self._identity)
        except OSError:
            return False


def find_own(name: str) -> Path:
    """Return the folder of a process of a job: its argument, else where it was moved meanwhile.

    Each process of a job is started in its folder.
    """
    path = Path(name)
    return path if path.exists() else Path.cwd()


def is_id(name: str) -> bool:
    return bool(_ID.fullmatch(name))


def iterate_ids(run_id: str) -> Iterator[str]:
    """Yield ``run_id``, then ``run_id-2``, ``run_id-3`` and so on, for when it is taken."""
    yield run_id
    for number in itertools.count(2):
        yield f"{run_id}-{number}"


def check_id(run_id: str) -> str:
    """Return ``run_id`` if it is a valid run name, else raise FtwizardError (usage)."""
    if not is_id(run_id):
        from ftwizard.text import make_visible

        raise FtwizardError(
            f"“{make_visible(run_id, 80)}” is not a valid run name.",
            "Use at most 64 letters, digits, dots, dashes and underscores. Start with a letter or digit.",
            2,
        )
    return run_id


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FtwizardError(
            f"{path} could not be read: {error}.",
            "It was written by another version, or edited. Start a new run.",
        ) from error


def read_json(path: Path, kind: type[_T]) -> _T | None:
    """Read a file's JSON as ``kind``; None if it is missing or unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError):
        return None


def write_whole(path: Path, data: bytes, *, ballast: Path | None = None) -> bool:
    """Write a file atomically: a reader sees the old or the new content, never a part.

    On a full disk, remove ``ballast`` and try once more; return False if there is still no space.
    A disk that fails is tried once more as well. Raises OSError for anything else, and for a full
    disk without ballast.
    """
    try:
        _replace(path, data)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            time.sleep(RETRY_S)
        elif error.errno in NO_SPACE and ballast is not None:
            ballast.unlink(missing_ok=True)
        else:
            raise
        try:
            _replace(path, data)
        except OSError as second_error:
            if second_error.errno not in NO_SPACE or ballast is None:
                raise
            return False
    return True


def _replace(path: Path, data: bytes) -> None:
    """Write the file by the descriptor of its folder, which may be moved meanwhile."""
    temporary = f".{path.name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(os.open(temporary, flags, 0o600, dir_fd=parent), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path.name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        if isinstance(error, OSError):
            error.filename = str(path)
            error.filename2 = None
        raise
    finally:
        os.close(parent)


def write_json(path: Path, value: Any, *, ballast: Path | None = None) -> bool:
    data = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return write_whole(path, data, ballast=ballast)


def append(path: Path, data: bytes, flags: int = APPEND) -> None:
    """Append ``data`` to a file with one ``write(2)``."""
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        file.write(data)


def read_end(path: Path, count: int, begin: int = 0) -> bytes:
    """Return the last ``count`` bytes of a file, none before ``begin``; empty if it is unreadable."""
    try:
        with path.open("rb") as file:
            file.seek(max(begin, os.fstat(file.fileno()).st_size - count))
            return file.read()
    except OSError:
        return b""


def hash_file(path: Path) -> str:
    """Return the XXH3-128 of a file's bytes: against accidents, not against forgery.

    On one core it takes about 0.2 s/GB from the page cache; it holds no interpreter lock.
    """
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        block = memoryview(bytearray(min(os.fstat(file.fileno()).st_size, HASHED_BYTES) + 1))
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def has_hash(path: Path, digest: str | None) -> bool:
    """Return whether a file's bytes have a hash; False for a file that cannot be read."""
    try:
        return hash_file(path) == digest
    except OSError:
        return False


def publish(part: Path, target: Path) -> None:
    """Sync the folder ``part`` to disk and rename it to ``target``, replacing that."""
    sync_files(part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    sync_folder(target.parent)


def sync_files(folder: Path) -> list[Path]:
    """Sync every file below ``folder`` to disk; return them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for file in files:
        _sync(file)
    sync_folder(folder)
    return files


def sync_folder(folder: Path) -> None:
    """Sync ``folder`` itself, so that changes in it outlive a power loss."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
