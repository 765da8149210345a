"""Quantization of GGUF files: by the user's llama.cpp, or by cyllama, which contains one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ftwizard.errors import MissingExtra
from ftwizard.export import tools
from ftwizard.hardware.machine import is_installed
from ftwizard.plan.export_forms import QUANTIZATIONS
from ftwizard.runs.exports import ExportTool

PROGRAM = "llama-quantize"
_PLACES = ("", "bin", "build/bin")
"""Where LLAMA_CPP_DIR has its programs: a release, an installation, or a checkout that was built."""


class Quantizer(NamedTuple):
    """What quantizes: a program, or cyllama if ``program`` is None."""

    program: str | None
    version: str


def find() -> Quantizer:
    """Return the user's ``llama-quantize`` (LLAMA_CPP_DIR, then PATH), else cyllama.

    Raises MissingExtra without any.
    """
    root = os.environ.get("LLAMA_CPP_DIR")
    folders = [str(Path(root).expanduser() / part) for part in _PLACES] if root else []
    for path in (os.pathsep.join(folders) if folders else None, None):
        if program := shutil.which(PROGRAM, path=path):
            return Quantizer(program, "of the user")
    if not is_installed("cyllama"):
        raise MissingExtra("export", "cyllama")
    return Quantizer(None, metadata.version("cyllama"))


def quantize(
    source: Path, target: Path, quantization: str, quantizer: Quantizer, report: Callable[[], None]
) -> ExportTool:
    """Write the GGUF file ``source`` quantized to ``target``; return what was run.

    Raises FtwizardError if the quantizer fails.
    """
    threads = str(len(os.sched_getaffinity(0)))
    if quantizer.program:
        arguments = [str(source), str(target), quantization.upper(), threads]
        tools.run(PROGRAM, "program", quantizer.program, *arguments, report=report)
        name = quantizer.program
    else:
        number = str(QUANTIZATIONS[quantization][0])
        arguments = [str(source), str(target), number, threads]
        tools.run("The quantizer cyllama", "quantize", *arguments, report=report)
        name = "cyllama"
    return ExportTool(
        name=name, version=quantizer.version, arguments=[source.name, target.name, *arguments[2:]]
    )
