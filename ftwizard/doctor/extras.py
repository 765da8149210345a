"""Checks of the packages in ftwizard's extras, and the command for those that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.hardware import machine

NAME = "ftwizard"
UNCHECKED_EXTRAS = ("all", "dev")
"""Extras that only combine others, or that training does not need."""


def run_checks() -> Iterator[Check]:
    """Check each package of each extra, a shared one once unless another extra needs a newer one."""
    checked = set()
    for extra, requirements in read_extras().items():
        for requirement in requirements if extra not in UNCHECKED_EXTRAS else ():
            check = check_package(requirement, extra)
            if requirement.name not in checked or check.status != "ok":
                yield check
            checked.add(requirement.name)


def check_package(requirement: Requirement, extra: str) -> Check:
    """Compare an installed package with a requirement; training needs only those of ``local``."""
    version = versions.get_version(requirement.name)
    if version and requirement.specifier.contains(version, prereleases=True):
        return ok(requirement.name, version)
    detail = f"{version}, needs {requirement.specifier}" if version else "not installed"
    report = missing if extra == "local" else warning
    return report(requirement.name, detail, get_install_command(extra))


def get_install_command(extra: str) -> str:
    """Return the command that installs an extra into this Python."""
    pip = "pip" if machine.is_installed("pip") else "uv pip"
    return f"{pip} install '{NAME}[{extra}]'"


def read_extras() -> dict[str, list[Requirement]]:
    """Return the requirements of each extra, from the metadata of the installed ftwizard.

    One that names another (``demo`` includes ``local``) does not repeat its requirements.
    """
    try:
        extras = metadata.metadata(NAME).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # a bare checkout
        return {}
    all_requirements = [Requirement(line) for line in metadata.requires(NAME) or []]
    return {
        extra: [
            requirement
            for requirement in all_requirements
            if requirement.marker
            and requirement.marker.evaluate({"extra": extra})
            and requirement.name.lower() != NAME
        ]
        for extra in extras
    }
