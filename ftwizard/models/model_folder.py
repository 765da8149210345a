"""Facts in a model folder's own files: weights, chat template, license and access form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

MAX_README_BYTES = 64_000
"""The front matter is at the start of the file; access forms of some cards have 20 kB."""
MAX_JSON_BYTES = 40_000_000
"""An index of weights has up to some MB, a tokenizer configuration as well."""
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}", re.ASCII)
_UNNAMED = "other"
"""The identifier of licenses that the Hub does not list; the card then has ``license_name``."""


class FolderCard(NamedTuple):
    """What a model card in a folder states; None where it is silent."""

    license: str | None
    gated: bool | None


def has_weights(folder: Path) -> bool:
    """Return whether the folder has all safetensors files that its index, if any, lists."""
    index = read_json(folder / "model.safetensors.index.json")
    by_weight = index.get("weight_map") if index else None
    names = set(by_weight.values()) if isinstance(by_weight, dict) else {"model.safetensors"}
    return all(isinstance(name, str) and (folder / name).is_file() for name in names)


def has_chat_template(folder: Path) -> bool | None:
    """Return whether the tokenizer has a chat template; None without a tokenizer configuration."""
    if (folder / "chat_template.jinja").is_file():
        return True
    for name in ("chat_template.json", "tokenizer_config.json"):
        values = read_json(folder / name)
        if values and values.get("chat_template"):
            return True
    return False if (folder / "tokenizer_config.json").is_file() else None


def read_card(folder: Path) -> FolderCard:
    """Read license and access form from the front matter of README.md."""
    try:
        with (folder / "README.md").open("rb") as file:
            text = file.read(MAX_README_BYTES).decode("utf-8", "replace")
    except OSError:
        return FolderCard(None, None)
    front_matter = _FRONT_MATTER.search(text)
    if front_matter is None:
        return FolderCard(None, None)
    license = _find_value(front_matter[1], "license")
    if license == _UNNAMED:
        license = _find_value(front_matter[1], "license_name") or license
    gated = True if re.search(r"^extra_gated_", front_matter[1], re.MULTILINE) else None
    return FolderCard(license, gated)


def clean_license(value: object) -> str | None:
    """Return a license identifier from outside; None for anything else."""
    return value if isinstance(value, str) and _LICENSE.fullmatch(value) else None


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None if there is none or it cannot be read."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _find_value(front_matter: str, key: str) -> str | None:
    """Return the license in a top-level ``key: value`` or in the first item of its list."""
    pattern = rf"^{key}:[ \t]*(?:\r?\n[ \t]*-[ \t]*)?[\"']?([^\s\"'#]+)"
    match = re.search(pattern, front_matter, re.MULTILINE)
    return clean_license(match[1]) if match else None
