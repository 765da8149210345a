"""Weights of tuned open models, which their jobs write to the bucket."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from google.cloud.storage.retry import DEFAULT_RETRY

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import get_free_bytes
from ftwizard.providers.archives import MIN_FREE_BYTES, replace_folder
from ftwizard.providers.vertex.client import VertexClient
from ftwizard.providers.vertex.files import list_objects
from ftwizard.providers.vertex.records import FINAL
from ftwizard.runs.remote import RemoteCheckpoint
from ftwizard.text import format_bytes, make_visible

CHECKPOINTS = FINAL.rpartition("/")[0]
TIMEOUT_S, RETRY_S = 60.0, 300.0
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,6})")


def list_open_checkpoints(
    client: VertexClient, output_uri: str, epoch_steps: int = 1
) -> list[RemoteCheckpoint]:
    """Return the folders of an open model's checkpoints, one an epoch; none without an output.

    Google numbers them by epoch. ``epoch_steps``: steps of each; 1 if unknown.
    """
    if not output_uri:
        return []
    numbers = set()
    prefix = f"{output_uri}/{CHECKPOINTS}/"
    for item in list_objects(client, prefix):
        folder = _get_rest(item, prefix).partition("/")[0]
        if match := _CHECKPOINT.fullmatch(folder):
            numbers.add(int(match[1]))
    return [
        RemoteCheckpoint(id=f"checkpoint-{number}", step=number * epoch_steps, epoch=float(number))
        for number in sorted(numbers)
    ]


def download_weights(
    client: VertexClient,
    output_uri: str,
    folder: Path,
    report: Callable[[int, int], None],
    checkpoint: str = "",
) -> bool:
    """Download the result of an open model's job, or a checkpoint by its id; return False if it is not
    there.

    ``folder`` is replaced by a complete one or not at all.
    """
    if checkpoint and not _CHECKPOINT.fullmatch(checkpoint):
        return False
    source = f"{CHECKPOINTS}/{checkpoint}" if checkpoint else FINAL
    prefix = f"{output_uri}/{source}/"
    objects = [item for item in list_objects(client, prefix) if not item.name.endswith("/")]
    if not objects:
        return False
    paths = [_check_path(_get_rest(item, prefix)) for item in objects]
    total = sum(item.size or 0 for item in objects)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_space(folder.parent, total)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            whole = Path(temporary) / "weights"
            done = 0
            for item, path in zip(objects, paths, strict=True):
                _download(client, item, whole / path, _Progress(report, done, total))
                done += item.size or 0
            replace_folder(folder, whole, Path(temporary))
    except OSError as error:
        raise FtwizardError(
            f"The download could not be written to {make_visible(str(folder.parent))}: "
            f"{error.strerror}.", "Check the disk and the rights of the folder, then try again.",
        ) from None  # fmt: skip
    return True


def _get_rest(item: Any, prefix: str) -> str:
    """Return the name of an object within a folder ``gs://BUCKET/FOLDER/``."""
    return str(item.name).removeprefix(prefix.removeprefix("gs://").partition("/")[2])


def _check_path(name: str) -> Path:
    """Return the relative path of an object; raise FtwizardError for one that leaves its folder."""
    path = PurePosixPath(name)
    is_safe = bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    if not is_safe or "\\" in name:
        raise FtwizardError(
            f"The weights have a file with an unsafe name: {make_visible(name, 100)}.",
            "Look at the bucket: nothing was downloaded.",
        )
    return Path(path)


def _require_space(folder: Path, size_bytes: int) -> None:
    if size_bytes > get_free_bytes(folder) - MIN_FREE_BYTES:
        raise FtwizardError(
            f"The download of {format_bytes(size_bytes)} does not fit on the disk.",
            f"Free {format_bytes(size_bytes + MIN_FREE_BYTES)}, then download it again.",
        )


def _download(client: VertexClient, item: Any, path: Path, report: Callable[[int], None]) -> None:
    """Download an object; its checksum is checked, and a connection that breaks is continued."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, client.guard("send the weights"):
        item.download_to_file(
            _ReportingWriter(raw, report), timeout=TIMEOUT_S,
            retry=DEFAULT_RETRY.with_timeout(RETRY_S), checksum="auto",
        )  # fmt: skip


class _Progress:
    """A report of one file among several."""

    def __init__(self, report: Callable[[int, int], None], done: int, total: int) -> None:
        self._report, self._done, self._total = report, done, total

    def __call__(self, count: int) -> None:
        self._report(min(self._done + count, self._total), self._total)


class _ReportingWriter:
    """A file that reports how much of it was written."""

    def __init__(self, file: Any, report: Callable[[int], None]) -> None:
        self._file, self._report = file, report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        count: int = self._file.write(data)
        self._report(self._file.tell())
        return count
