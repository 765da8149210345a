"""The stored form of a draft: the person's answers, without anything read from the data."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ftwizard.catalog.prices import PriceRate
from ftwizard.catalog.providers import ProviderId
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.screens.draft import STEPS, saved_drafts
from ftwizard.screens.draft.drafts import AppliedLimit, Draft, get_absolute_path
from ftwizard.screens.draft.saved_drafts import DraftFile, InterruptedDraft
from ftwizard.text import make_visible


class DraftDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a ``Draft`` that cannot be computed again.

    Rows, findings and counts are read again: the data may have changed. A plan names no secret.
    """

    plan: Plan
    answers: dict[str, str] = {}
    chosen_provider: ProviderId | None = None
    recommended: ProviderId = "local"
    reasons: tuple[str, ...] = ()
    platform: HostedProvider | None = None
    chosen_platform: HostedProvider | None = None
    models: dict[str, str] = {}
    hour: PriceRate | None = None
    touched: list[str] = []
    limit: AppliedLimit | None = None
    name: str = ""


def encode(draft: Draft) -> bytes:
    """Return a draft as JSON."""
    document = DraftDocument(
        plan=draft.plan, answers=draft.answers, chosen_provider=draft.chosen_provider,
        recommended=draft.recommended, reasons=draft.reasons, platform=draft.platform,
        chosen_platform=draft.chosen_platform, models=dict(draft.models),
        hour=draft.hour, touched=sorted(draft.touched), name=draft.name, limit=draft.limit,
    )  # fmt: skip
    return msgspec.json.encode(document)


def save(file: DraftFile, step: int, draft: Draft) -> None:
    """Save a draft whose person is at a step. Its files are named from the root: a wizard may
    continue in another folder.

    A file name that is not text is not saved.
    """
    files = draft.plan.data.files
    names = {part: _make_absolute(getattr(files, part)) for part in files.__struct_fields__}
    named = draft.with_data(files=msgspec.structs.replace(files, **names))
    with contextlib.suppress(UnicodeEncodeError):
        file.save(str(names["train"]), step, encode(named))


def _make_absolute(name: str | None) -> str | None:
    if not name or ids.parse(name):
        return name
    try:
        return get_absolute_path(name)
    except FtwizardError:  # not a name yet
        return name


def select_drafts(
    drafts: Sequence[InterruptedDraft], names: Sequence[str]
) -> list[InterruptedDraft]:
    """Return the drafts with answers on the data that is named on the command line; all of them
    without a name."""
    if not names:
        return list(drafts)
    data, check = _make_absolute(names[0]), STEPS.index("Data")
    is_one = len(names) == 1
    return [
        left for left in drafts if is_one and left.saved.data == data and left.saved.step > check
    ]


def read(path: Path, machine: MachineInfo) -> tuple[Draft, int]:
    """Return the draft in a file, for this machine, and the step it was left at.

    Raises FtwizardError if it cannot be used, as after an update of ftwizard.
    """
    saved = next((item for at, item in saved_drafts.list_drafts().drafts if at == path), None)
    if saved is None:
        raise FtwizardError("This draft is no longer there, or open in another window.")
    try:
        document = msgspec.json.decode(saved.answers, type=DraftDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FtwizardError(
            f"{make_visible(str(path), 300)} could not be read: another version of ftwizard wrote it.",
            "Start a new fine-tune.",
        ) from None
    parts = {name: getattr(document, name) for name in document.__struct_fields__}
    draft = replace(Draft(machine), **{**parts, "touched": frozenset(document.touched)})
    return draft, saved.step
