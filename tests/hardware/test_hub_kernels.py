"""The package for compiled kernels: the versions that transformers takes."""

from __future__ import annotations

from importlib import metadata

import pytest

from ftwizard.hardware import hub_kernels

EXTRA = 'kernels<0.19,>=0.18.2; extra == "kernels"'


def install(
    monkeypatch: pytest.MonkeyPatch, version: str | None, requires: list[str] | None
) -> None:
    """Make ``kernels`` installed in a version, with a transformers that requires ``requires``."""

    def get_version(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", get_version)
    monkeypatch.setattr(metadata, "requires", lambda name: requires)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("0.18.2", None),
        ("0.18.9", None),
        ("0.17.2", "kernels 0.17.2 is installed, but transformers needs <0.19,>=0.18.2"),
        ("0.19.0", "transformers needs <0.19,>=0.18.2"),
        ("not a version", "is installed, but"),
        (None, "the kernels package is not installed"),
    ],
)
def test_version_must_be_one_that_transformers_takes(
    version: str | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, version, ["filelock", "not a requirement!", EXTRA])
    missing = hub_kernels.explain_missing()
    assert missing is reason if reason is None else reason in str(missing)
    assert hub_kernels.format_install_command() == "pip install 'kernels<0.19,>=0.18.2'"


def test_any_version_is_asked_for_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None, None)
    assert hub_kernels.format_install_command() == "pip install 'kernels'"


def test_range_is_that_of_the_installed_transformers() -> None:
    from transformers.utils import import_utils

    specifier = hub_kernels.read_requirement().specifier
    assert specifier.contains(import_utils.KERNELS_MIN_VERSION)
    assert not specifier.contains(import_utils.KERNELS_MAX_VERSION)
