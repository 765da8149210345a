"""Names of files in a plan: made absolute, so that a run finds them from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard import file_names, samples
from ftwizard.data import hub_id
from ftwizard.errors import FtwizardError
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import visible

if TYPE_CHECKING:
    from ftwizard.plan import Plan


def whole(plan: Plan, folder: Path) -> Plan:
    """Return the plan with absolute names, seen from ``folder``; raise SettingsError for what no
    file can be called, and for a data set on the Hub."""
    old = plan.data.files
    files: dict[str, str | None] = {}
    for part in ("train", "validation", "test"):
        name = getattr(old, part)
        _refuse_hub_id(f"files.{part}", name, folder)
        files[part] = name and _whole(f"data.files.{part}", name, folder)
    mix = plan.data.mix
    if mix.rows not in samples.ROWS:
        _refuse_hub_id("mix.rows", mix.rows, folder)
        mix = msgspec.structs.replace(mix, rows=_whole("data.mix.rows", mix.rows, folder))
    asked = plan.samples
    if isinstance(asked.prompts, str) and asked.prompts.strip():
        name = _whole("samples.prompts", asked.prompts, folder)
        asked = msgspec.structs.replace(asked, prompts=name)
    model = plan.model
    if model.name.startswith((".", "~", "/")) or file_names.is_folder(folder / model.name):
        model = msgspec.structs.replace(model, name=_whole("model.name", model.name, folder))
    data = msgspec.structs.replace(plan.data, files=msgspec.structs.replace(old, **files), mix=mix)
    return msgspec.structs.replace(plan, data=data, model=model, samples=asked)


def _whole(setting: str, name: str, folder: Path) -> str:
    try:
        return str(file_names.whole(name, folder))
    except FtwizardError as error:
        raise SettingsError(f"{setting}: {error.message}", error.hint) from None


def _refuse_hub_id(setting: str, name: str | None, folder: Path) -> None:
    """A plan names files, so that a run does not change with the Hub: say how to get one."""
    if name and hub_id.parse(name) and not file_names.exists(folder / name):
        raise SettingsError(
            f"There is no data file {visible(str(folder / name), 200)}; data.{setting} looks "
            "like a data set on the Hugging Face Hub.",
            f"Fetch it with: ftwizard check {visible(name, 200)}; then name the file that it "
            "prints.",
        )
