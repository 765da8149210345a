"""Error messages for data sets on the Hub."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.text import format_duration, make_visible

_NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "ssl")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_TOKEN = "set HF_TOKEN to a token of an account with access"


def why_unreachable(error: BaseException) -> str | None:
    """Return why the Hub is unreachable, or None if it has answered."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    for cause in _iterate_causes(error):
        status = get_status(cause)
        if status == 429:
            return "the Hub's rate limit is exceeded (429)"
        if status >= 500:
            return f"the Hub has a server error ({status})"
        if status:
            return None
        if isinstance(cause, OfflineModeIsEnabled):
            return "offline mode is on (HF_HUB_OFFLINE)"
        if type(cause).__module__.partition(".")[0] in _NETWORK or isinstance(
            cause, ConnectionError | TimeoutError
        ):
            return f"the Hub is unreachable ({type(cause).__name__})"
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in _iterate_causes(error)):
        return "the Hub is unreachable"
    return None


def to_error(error: BaseException, name: str) -> FtwizardError:
    """Convert an error in loading the data set ``name`` to a readable one."""
    if isinstance(error, FtwizardError):
        return error
    shown = make_visible(name, 200)
    for cause in _iterate_causes(error):
        explained = (
            _explain_disk(cause, shown)
            or _explain_hub(cause, shown)
            or _explain_library(cause, shown)
        )
        if explained:
            return explained
    if reason := why_unreachable(error):
        return FtwizardError(f"{shown} could not be downloaded: {reason}.", _advise_retry(error))
    first = make_visible(str(error).strip().partition("\n")[0].rstrip("."), 300)
    message = f"{shown} could not be read: {type(error).__name__}: {first}."
    hint = "Check it on the Hub. If it opens elsewhere, save it as JSON Lines and name that file."
    return FtwizardError(message, hint)


def not_available(error: BaseException, name: str) -> FtwizardError:
    """Return the error for a missing name while the Hub is unreachable."""
    reason = why_unreachable(error) or f"the Hub is unreachable ({type(error).__name__})"
    return FtwizardError(
        f"File {make_visible(name, 200)} does not exist, this machine has no copy of a data set of that "
        f"name, and {reason}.",
        f"Check the file name. {_advise_retry(error)}",
    )


def _advise_retry(error: BaseException) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    for cause in _iterate_causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return "To download it, unset HF_HUB_OFFLINE."
        if get_status(cause) == 429:
            wait = _get_wait_s(cause)
            when = f"in {format_duration(wait)}" if wait else "in a few minutes"
            return f"Try again {when}, or set HF_TOKEN for a higher limit."
        if get_status(cause) >= 500:
            return "Try again later; finished downloads are kept."
    return "Check the network and HF_ENDPOINT, then try again; finished downloads are kept."


def _explain_disk(error: BaseException, name: str) -> FtwizardError | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = make_visible(str(error.filename), 200) if error.filename else ""
    if error.errno in _NO_SPACE:
        return FtwizardError(
            f"The disk is full; {name} was not downloaded completely{f' ({where})' if where else ''}.",
            "Free some disk space, or set HF_HOME and FTWIZARD_CACHE to folders on a larger disk.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        message = f"Cannot write {where or 'to the cache'}: {os.strerror(error.errno)}."
        return FtwizardError(message, "Set HF_HOME and FTWIZARD_CACHE to writable folders.")
    return None


def _explain_hub(error: BaseException, name: str) -> FtwizardError | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return gated_error(name)
    if isinstance(error, errors.DisabledRepoError):
        message = f"The Hub has disabled the data set {name}."
        return FtwizardError(message, "Choose another data set.")
    if get_status(error) == 401 and _sent_token(error):
        message = "The Hub rejected your token."
        hint = "Set HF_TOKEN to a valid one. For public data, unset it and run: hf auth logout"
        return FtwizardError(message, hint)
    # Without access, the Hub answers 401 for private and for missing repositories alike.
    if isinstance(error, errors.RepositoryNotFoundError) or get_status(error) == 401:
        return FtwizardError(
            f"File {name} does not exist, and the Hub has no data set of that name that you can access.",
            f"Check the name. For a private data set, {_TOKEN}.",
        )
    if get_status(error) == 403:
        message = f"Your token has no access to {name} on the Hub."
        return FtwizardError(message, f"Grant it access, or {_TOKEN}.")
    return None


def gated_error(name: str) -> FtwizardError:
    """Return the error for a data set with conditions to accept."""
    from huggingface_hub.constants import ENDPOINT

    message = f"The data set {name} is gated: its conditions must be accepted first."
    hint = f"Accept them at {make_visible(ENDPOINT, 100)}/datasets/{name}, then {_TOKEN}."
    return FtwizardError(message, hint)


def _explain_library(error: BaseException, name: str) -> FtwizardError | None:
    from datasets import exceptions

    message = str(error)
    if isinstance(error, exceptions.DatasetNotFoundError):
        # The library drops the Hub's answer, which would distinguish the two cases.
        return gated_error(name) if "gated" in message else None
    if isinstance(error, exceptions.DataFilesNotFoundError) or type(error).__name__ in (
        "EmptyDatasetError",
    ):
        problem = f"{name} has no supported data files."
        hint = "Supported are JSON, JSON Lines, Parquet, Arrow, CSV and text."
        return FtwizardError(problem, hint)
    if "Dataset scripts are no longer supported" in message:
        problem = f"{name} needs a script from its repository, which ftwizard never runs."
        hint = "If you trust it, save it as JSON Lines elsewhere and name that file."
        return FtwizardError(problem, hint)
    if missing := re.search("Unable to find '([^']*)'", message):
        problem = f"{name} refers to missing data files: {make_visible(missing[1], 100)}."
        return FtwizardError(problem, "Check the configuration in its README.md on the Hub.")
    if "Data files don't belong to" in message:
        problem = f"{name} refers to data files outside its own repository, which are not read."
        return FtwizardError(problem, "Check the configuration in its README.md on the Hub.")
    return None


def get_status(error: BaseException) -> int:
    """Return the HTTP status of a Hub error, or 0."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else 0


def _sent_token(error: Any) -> bool:
    return "authorization" in error.response.request.headers


def _get_wait_s(error: Any) -> int:
    """Return the seconds that the Hub asks to wait, or 0."""
    headers = error.response.headers
    delay = headers.get("Retry-After", "") or headers.get("RateLimit", "").rpartition("t=")[2]
    return int(delay) if delay.isascii() and delay.isdigit() else 0


def _iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
