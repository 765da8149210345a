"""Paths in a plan, made absolute so that a run finds them from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard import user_paths
from ftwizard.data import bundled_samples
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import make_visible

if TYPE_CHECKING:
    from ftwizard.plan.schema import Plan


def make_absolute(plan: Plan, folder: Path) -> Plan:
    """Return the plan with its paths absolute, relative to ``folder``.

    Raises SettingsError for an invalid file name, and for a data set on the Hub.
    """
    old = plan.data.files
    files: dict[str, str | None] = {}
    for part in ("train", "validation", "test"):
        name = getattr(old, part)
        _refuse_hub_id(f"files.{part}", name, folder)
        files[part] = name and _resolve(f"data.files.{part}", name, folder)
    mix = plan.data.mix
    if mix.rows not in bundled_samples.ROW_SETS:
        _refuse_hub_id("mix.rows", mix.rows, folder)
        mix = msgspec.structs.replace(mix, rows=_resolve("data.mix.rows", mix.rows, folder))
    sampling = plan.samples
    if isinstance(sampling.prompts, str) and sampling.prompts.strip():
        name = _resolve("samples.prompts", sampling.prompts, folder)
        sampling = msgspec.structs.replace(sampling, prompts=name)
    model = plan.model
    if model.name.startswith((".", "~", "/")) or user_paths.is_folder(folder / model.name):
        model = msgspec.structs.replace(model, name=_resolve("model.name", model.name, folder))
    data = msgspec.structs.replace(plan.data, files=msgspec.structs.replace(old, **files), mix=mix)
    return msgspec.structs.replace(plan, data=data, model=model, samples=sampling)


def _resolve(setting: str, name: str, folder: Path) -> str:
    try:
        return str(user_paths.make_absolute(name, folder))
    except FtwizardError as error:
        raise SettingsError(f"{setting}: {error.message}", error.hint) from None


def _refuse_hub_id(setting: str, name: str | None, folder: Path) -> None:
    """Raise SettingsError for a Hub id: a plan names files, so that a run does not change with the
    Hub."""
    if name and ids.parse(name) and not user_paths.exists(folder / name):
        raise SettingsError(
            f"There is no data file {make_visible(str(folder / name), 200)}; data.{setting} looks "
            "like a data set on the Hugging Face Hub.",
            f"Run ftwizard check {make_visible(name, 200)}, then name the file that it prints.",
        )
