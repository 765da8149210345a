"""Crash reports: the traceback goes to a file, the user sees one sentence."""

from __future__ import annotations

import time
import traceback

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.text import make_lines_visible


def to_user_error(error: BaseException) -> FtwizardError:
    """Return the error to show for an internal error in part of a screen; save a report."""
    return FtwizardError("Internal error. Your runs are not affected.", save_report(error))


def save_report(error: BaseException | None) -> str:
    """Write the traceback, without the values of variables; return a sentence with its path."""
    trace = "".join(traceback.format_exception(error)) if error else "no exception"
    try:
        folder = locations.create_private_folder(locations.home_folder() / "crashes")
        file = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.txt"
        file.touch(mode=0o600)
        file.write_text(make_lines_visible(trace))
    except Exception:  # noqa: BLE001 (a full disk must not hide the error)
        return f"{type(error).__name__}."
    return f"Details are in {file}."
