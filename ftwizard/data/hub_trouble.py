"""What can go wrong between here and a data set on the Hub: a sentence each, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.text import duration, visible

_NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "ssl")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_TOKEN = "set HF_TOKEN to a token of an account that may read it"


def away(error: BaseException) -> str | None:
    """Say why the Hub cannot be asked at the moment, None when it has answered."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    for one in _chain(error):
        status = status_of(one)
        if status == 429:
            return "the Hub answers that it was asked too often (429)"
        if status >= 500:
            return f"the Hub answers that it is out of order ({status})"
        if status:
            return None
        if isinstance(one, OfflineModeIsEnabled):
            return "the Hub is switched off here (HF_HUB_OFFLINE)"
        if type(one).__module__.partition(".")[0] in _NETWORK or isinstance(
            one, ConnectionError | TimeoutError
        ):
            return f"the Hub cannot be reached ({type(one).__name__})"
    if any(isinstance(one, LocalEntryNotFoundError) for one in _chain(error)):
        return "the Hub cannot be reached"
    return None


def trouble(error: BaseException, name: str) -> FtwizardError:
    """Return in words what was in the way of the data set ``name``."""
    if isinstance(error, FtwizardError):
        return error
    shown = visible(name, 200)
    for one in _chain(error):
        if found := _of_disk(one, shown) or _of_hub(one, shown) or _of_library(one, shown):
            return found
    if reason := away(error):
        return FtwizardError(f"{shown} could not be fetched: {reason}.", _later(error))
    first = visible(str(error).strip().partition("\n")[0].rstrip("."), 300)
    return FtwizardError(
        f"{shown} could not be read: {type(error).__name__}: {first}.",
        "Look at it on the Hub. If it opens elsewhere, save it as JSON Lines and name the file.",
    )


def not_here(error: BaseException, name: str) -> FtwizardError:
    """Return that nothing of the name is here, and that the Hub cannot be asked."""
    reason = away(error) or f"the Hub cannot be reached ({type(error).__name__})"
    return FtwizardError(
        f"There is no file {visible(name, 200)} here, no copy of a data set of that name, and "
        f"{reason}.",
        f"For a file check the name. {_later(error)}",
    )


def _later(error: BaseException) -> str:
    for one in _chain(error):
        if status_of(one) == 429:
            wait = _seconds(one)
            when = f"in {duration(wait)}" if wait else "in some minutes"
            return f"Try again {when}; with HF_TOKEN set, more is allowed."
        if status_of(one) >= 500:
            return "Try again later; what has arrived is kept."
    return "Check the network and HF_ENDPOINT, and try again; what has arrived is kept."


def _of_disk(error: BaseException, name: str) -> FtwizardError | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = visible(str(error.filename), 200) if error.filename else ""
    if error.errno in _NO_SPACE:
        return FtwizardError(
            f"The disk is full; {name} was not fetched whole{f' ({where})' if where else ''}.",
            "Free some space, or set HF_HOME and FTWIZARD_CACHE to folders on a larger disk.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FtwizardError(
            f"Cannot write {where or 'to the cache'}: {os.strerror(error.errno)}.",
            "Set HF_HOME and FTWIZARD_CACHE to folders that you can write to.",
        )
    return None


def _of_hub(error: BaseException, name: str) -> FtwizardError | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return gated(name)
    if isinstance(error, errors.DisabledRepoError):
        return FtwizardError(f"The Hub has switched the data set {name} off.", "Choose another.")
    if status_of(error) == 401 and _showed_token(error):
        return FtwizardError(
            "The Hub does not accept the token that is set here.",
            "Set HF_TOKEN to a new one, or unset it and sign out (hf auth logout) for public data.",
        )
    # Strangers get 401 for what is private and for what is missing: which, they are not to know.
    if isinstance(error, errors.RepositoryNotFoundError) or status_of(error) == 401:
        return FtwizardError(
            f"There is no file {name} here, and the Hub has no data set of that name that may be "
            "read.",
            f"Check the name. For a private one {_TOKEN}.",
        )
    if status_of(error) == 403:
        return FtwizardError(
            f"The Hub does not give {name} to the token that is set here.",
            f"Give the token that right, or {_TOKEN}.",
        )
    return None


def gated(name: str) -> FtwizardError:
    """Return that conditions come before the data set."""
    from huggingface_hub.constants import ENDPOINT

    return FtwizardError(
        f"The Hub gives the data set {name} only to those who accepted its conditions.",
        f"Accept them at {visible(ENDPOINT, 100)}/datasets/{name}, then {_TOKEN}.",
    )


def _of_library(error: BaseException, name: str) -> FtwizardError | None:
    from datasets import exceptions

    said = str(error)
    if isinstance(error, exceptions.DatasetNotFoundError):
        # The library drops the Hub's own answer, which would have told the two apart.
        return gated(name) if "gated" in said else None
    if isinstance(error, exceptions.DataFilesNotFoundError) or type(error).__name__ in (
        "EmptyDatasetError",
    ):
        return FtwizardError(
            f"{name} holds no data files that are read.",
            "Those are JSON, JSON Lines, Parquet, Arrow, CSV and text.",
        )
    if "Dataset scripts are no longer supported" in said:
        return FtwizardError(
            f"{name} is made by a program in its repository, which is never run here.",
            "Save it as JSON Lines on a machine where you trust it, and name the file.",
        )
    if missing := re.search("Unable to find '([^']*)'", said):
        return FtwizardError(
            f"{name} names data files that it does not have: {visible(missing[1], 100)}.",
            "Look at the configuration in its README.md on the Hub.",
        )
    if "Data files don't belong to" in said:
        return FtwizardError(
            f"{name} names data files outside of its own repository; these are not read.",
            "Look at the configuration in its README.md on the Hub.",
        )
    return None


def status_of(error: BaseException) -> int:
    """Return the HTTP status that an error of the Hub carries, else 0."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else 0


def _showed_token(error: Any) -> bool:
    return "authorization" in error.response.request.headers


def _seconds(error: Any) -> int:
    """Return how long the Hub asks to wait, 0 where it does not say."""
    headers = error.response.headers
    said = headers.get("Retry-After", "") or headers.get("RateLimit", "").rpartition("t=")[2]
    return int(said) if said.isascii() and said.isdigit() else 0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
