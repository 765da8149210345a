"""A fault of our own: what happened is kept in a file, a sentence is what the person sees."""

from __future__ import annotations

import time
import traceback

from ftwizard import settings
from ftwizard.errors import FtwizardError
from ftwizard.text import visible_lines


def told(error: BaseException) -> FtwizardError:
    """Return what to say of a fault in a part of a screen; what happened is kept."""
    return FtwizardError(
        "Something went wrong here that should not have; nothing that runs is touched.", keep(error)
    )


def keep(error: BaseException | None) -> str:
    """Write down what happened, without the values of variables; return where it is, in words."""
    words = "".join(traceback.format_exception(error)) if error else "no exception"
    try:
        folder = settings.private_folder(settings.home() / "crashes")
        file = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.txt"
        file.touch(mode=0o600)
        file.write_text(visible_lines(words))
    except Exception:  # noqa: BLE001 (a full disk must not hide that something went wrong)
        return f"{type(error).__name__}."
    return f"What happened is in {file}."
