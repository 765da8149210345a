"""Which extras of ftwizard are installed, and what exactly installs the others."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from ftwizard import machine
from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning

NAME = "ftwizard"
OF_DEVELOPERS = ("all", "dev")
"""Extras that only gather others, or that nobody needs who trains."""
Extras = Mapping[str, Sequence[Requirement]]


def look() -> Iterator[Check]:
    """Say of each package of ``local`` whether it is there, and of each other extra."""
    known = extras()
    for wanted in known.get("local", ()):
        yield package(wanted)
    for name, needs in known.items():
        if name not in ("local", *OF_DEVELOPERS):
            yield extra(name, needs)


def package(wanted: Requirement) -> Check:
    """Compare one package with what the extra ``local`` asks for."""
    version = versions.installed(wanted.name)
    if version is None:
        return missing(wanted.name, "not installed", install("local"))
    if not wanted.specifier.contains(version, prereleases=True):
        return missing(wanted.name, f"{version}, needs {wanted.specifier}", install("local"))
    return ok(wanted.name, version)


def extra(name: str, needs: Sequence[Requirement]) -> Check:
    """Say whether all packages of an extra are installed."""
    lacking = [one for one in needs if not _is_there(one)]
    if lacking:
        absent = ", ".join(f"{one.name}{one.specifier}" for one in lacking)
        return warning(f"extra: {name}", f"not installed ({absent})", install(name))
    versions_there = (f"{one.name} {versions.installed(one.name)}" for one in needs)
    return ok(f"extra: {name}", ", ".join(versions_there) or "installed")


def is_installed(name: str) -> bool | None:
    """Say whether an extra is installed; None where this version has none of that name."""
    needs = extras().get(name)
    return None if needs is None else all(map(_is_there, needs))


def install(name: str) -> str:
    """Return the command that installs an extra into this Python."""
    pip = "pip" if machine.is_installed("pip") else "uv pip"
    return f"{pip} install '{NAME}[{name}]'"


def extras(lines: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[Requirement]]:
    """Return what each extra needs beyond the bare installation; without ``local``'s own in others.

    An extra that names another (``ftwizard[local]``) has what that has.
    """
    said = _declared() if lines is None else lines
    own = {name: [Requirement(line) for line in needs] for name, needs in said.items()}

    def unfolded(name: str, seen: frozenset[str] = frozenset()) -> list[Requirement]:
        found: list[Requirement] = []
        for one in own.get(name, ()):
            if one.name.lower() != NAME:
                found.append(one)
                continue
            for inner in sorted(one.extras - seen - {"local"}):
                found += unfolded(inner, seen | {name})
        return found

    return {name: unfolded(name) for name in own}


def _declared() -> dict[str, list[str]]:
    """Return the requirements of each extra: as installed, else as the checkout declares them."""
    try:
        info = metadata.metadata(NAME)
    except metadata.PackageNotFoundError:
        return _in_checkout()
    found: dict[str, list[str]] = {name: [] for name in info.get_all("Provides-Extra") or []}
    for line in metadata.requires(NAME) or []:
        wanted = Requirement(line)
        if wanted.marker is None:
            continue
        for name, needs in found.items():
            if wanted.marker.evaluate({"extra": name}) and not wanted.marker.evaluate(
                {"extra": ""}
            ):
                needs.append(line.partition(";")[0].strip())
    return found


def _in_checkout() -> dict[str, list[str]]:
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        declared = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    except (OSError, KeyError, ValueError):
        return {}
    return {name: list(needs) for name, needs in declared.items()}


def _is_there(wanted: Requirement) -> bool:
    version = versions.installed(wanted.name)
    return version is not None and wanted.specifier.contains(version, prereleases=True)
