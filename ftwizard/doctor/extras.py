"""Checks of ftwizard's extras: which are installed, and the command for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.hardware import machine

NAME = "ftwizard"
UNCHECKED_EXTRAS = ("all", "dev")
"""Extras that only combine others, or that training does not need."""


def run_checks() -> Iterator[Check]:
    """Check each package of the extra ``local``, and each other extra."""
    declared = read_extras()
    for requirement in declared.get("local", ()):
        yield check_package(requirement)
    for name, needs in declared.items():
        if name not in ("local", *UNCHECKED_EXTRAS):
            yield check_extra(name, needs)


def check_package(requirement: Requirement) -> Check:
    """Compare an installed package with a requirement of the extra ``local``."""
    version = versions.get_version(requirement.name)
    if version is None:
        return missing(requirement.name, "not installed", get_install_command("local"))
    if not requirement.specifier.contains(version, prereleases=True):
        return missing(
            requirement.name,
            f"{version}, needs {requirement.specifier}",
            get_install_command("local"),
        )
    return ok(requirement.name, version)


def check_extra(name: str, needs: Sequence[Requirement]) -> Check:
    """Check whether all packages of an extra are installed."""
    absent = ", ".join(f"{need.name}{need.specifier}" for need in needs if not _is_satisfied(need))
    if absent:
        return warning(f"extra: {name}", f"not installed ({absent})", get_install_command(name))
    present = ", ".join(f"{need.name} {versions.get_version(need.name)}" for need in needs)
    return ok(f"extra: {name}", present or "installed")


def is_installed(name: str) -> bool | None:
    """Return whether an extra is installed; None if there is no such extra."""
    needs = read_extras().get(name)
    return None if needs is None else all(map(_is_satisfied, needs))


def get_install_command(name: str) -> str:
    """Return the command that installs an extra into this Python."""
    pip = "pip" if machine.is_installed("pip") else "uv pip"
    return f"{pip} install '{NAME}[{name}]'"


def read_extras() -> dict[str, list[Requirement]]:
    """Return the requirements of each extra, from the metadata of the installed ftwizard.

    One that names another (``demo`` includes ``local``) does not repeat its requirements.
    """
    try:
        info = metadata.metadata(NAME)
    except metadata.PackageNotFoundError:  # a bare checkout
        return {}
    declared: dict[str, list[Requirement]] = {
        name: [] for name in info.get_all("Provides-Extra") or []
    }
    for requirement in map(Requirement, metadata.requires(NAME) or []):
        if (marker := requirement.marker) is None or requirement.name.lower() == NAME:
            continue
        for name, needs in declared.items():
            if marker.evaluate({"extra": name}) and not marker.evaluate({"extra": ""}):
                needs.append(requirement)
    return declared


def _is_satisfied(requirement: Requirement) -> bool:
    version = versions.get_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)
