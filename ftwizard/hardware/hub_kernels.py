"""Compiled kernels from the Hugging Face Hub, by the package ``kernels``: no compiler is needed here.

transformers takes only a narrow range of its versions, and ignores others without a word.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

FLASH_ATTENTION: Final = "kernels-community/flash-attn2"
"""FlashAttention 2 on the Hub, under transformers' name for an attention implementation."""


def read_requirement() -> Requirement:
    """Return the versions of ``kernels`` that the installed transformers takes; any without it."""
    try:
        lines = metadata.requires("transformers") or []
    except metadata.PackageNotFoundError:
        lines = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.name == "kernels":
            requirement.marker = None
            return requirement
    return Requirement("kernels")


def format_install_command() -> str:
    """Return the command that installs a version that transformers takes."""
    return f"pip install '{read_requirement()}'"


def explain_missing() -> str | None:
    """Return why kernels from the Hub cannot be used; None if the package is there."""
    requirement = read_requirement()
    try:
        version = metadata.version("kernels")
    except metadata.PackageNotFoundError:
        return "the kernels package is not installed"
    try:
        is_taken = requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        is_taken = False
    if is_taken:
        return None
    return f"kernels {version} is installed, but transformers needs {requirement.specifier}"
