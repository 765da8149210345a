"""Downloads of adapters and models from Together, continued where a connection breaks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import get_free_bytes
from ftwizard.providers.archives import MIN_FREE_BYTES, unpack
from ftwizard.providers.base import ProviderError
from ftwizard.providers.together.client import TogetherClient, wait
from ftwizard.providers.together.jobs import fetch_job
from ftwizard.providers.together.records import read_job
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import format_bytes, make_visible

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MODEL_FILES = ("config.json", "*.safetensors")
_DOWNLOAD_TIMEOUT_S = 300.0
_MAX_RESUMES = 5


def download(
    client: TogetherClient,
    remote: RemoteJob,
    folder: Path,
    report: Callable[[int, int], None],
    step: int | None = None,
) -> bool:
    """Download the adapter or the weights of a job; see ``Platform.download``."""
    if remote.job_id is None:
        return False
    job = fetch_job(client, remote.job_id)
    if read_job(job).state != "succeeded":
        return False
    kind = job.get("training_type")
    is_full = isinstance(kind, Mapping) and kind.get("type") == "Full"
    try:
        _download_and_unpack(client, remote.job_id, folder, report, is_full=is_full, step=step)
    except ProviderError as error:
        if error.kind != "missing":
            raise
        return False
    except OSError as error:
        raise FtwizardError(
            f"The download could not be written to {make_visible(str(folder.parent))}: "
            f"{error.strerror}.", "Check the disk and the rights of the folder, then try again.",
        ) from None  # fmt: skip
    return True


def _download_and_unpack(
    client: TogetherClient,
    job_id: str,
    folder: Path,
    report: Callable[[int, int], None],
    *,
    is_full: bool,
    step: int | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        archive = Path(temporary) / "archive"
        selector: dict[str, Any] = {"checkpoint": "model_output_path" if is_full else "adapter"}
        selector |= {} if step is None else {"checkpoint_step": step}
        _download_archive(client, job_id, selector, archive, report)
        unpack(archive, folder, MODEL_FILES if is_full else ADAPTER_FILES)


def _download_archive(
    client: TogetherClient,
    job_id: str,
    selector: dict[str, Any],
    path: Path,
    report: Callable[[int, int], None],
) -> None:
    """Download an archive; a connection that breaks is continued where it broke."""
    for attempt in range(_MAX_RESUMES + 1):
        try:
            with client.translate(), path.open("ab") as file:
                done = file.tell()
                headers = {"Accept-Encoding": "identity"}
                if done:
                    headers["Range"] = f"bytes={done}-"
                stream = client.sdk.fine_tuning.with_streaming_response.content(
                    ft_id=job_id, extra_headers=headers, timeout=_DOWNLOAD_TIMEOUT_S, **selector
                )  # fmt: skip
                with stream as response:
                    _copy_body(response.http_response, file, report)
                return
        except ProviderError as error:
            if error.kind != "unreachable" or attempt == _MAX_RESUMES:
                raise
            wait(attempt)


def _copy_body(response: httpx.Response, file: Any, report: Callable[[int, int], None]) -> None:
    """Append the rest of a download to a file. Raises httpx.HTTPError if it ends early, and
    FtwizardError if it does not fit on the disk."""
    if response.status_code != 206:
        file.truncate(0)
        file.seek(0)
    done = file.tell()
    length = int(response.headers.get("content-length") or 0)
    total = done + length
    if length > get_free_bytes(Path(file.name).parent) - MIN_FREE_BYTES:
        raise FtwizardError(
            f"The download of {format_bytes(length)} does not fit on the disk.",
            f"Free {format_bytes(length + MIN_FREE_BYTES)}, then download it again.",
        )
    for chunk in response.iter_bytes(1 << 20):
        file.write(chunk)
        done += len(chunk)
        report(done, max(total, done))
    if length and done < total:
        raise httpx.RemoteProtocolError("the download ended early", request=response.request)
