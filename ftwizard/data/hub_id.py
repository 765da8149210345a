"""Names of data sets on the Hugging Face Hub, told apart from names of files; nothing is asked."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ftwizard import file_names

DEFAULT_SPLIT = "train"
_PREFIXES = ("hf://datasets/", "https://huggingface.co/datasets/")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_ID = re.compile(rf"({_PART}/{_PART})(?:/([^/:]{{1,200}}))?(?::([^/]{{1,100}}))?")
_FILES = (
    ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst",
    ".bz2", ".xz", ".zip", ".yaml", ".yml", ".xlsx",
)  # fmt: skip


class HubId(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: ``owner/name[/config][:split]``."""

    repo: str
    config: str | None = None
    """None for the one that the data set says is its default."""
    split: str = DEFAULT_SPLIT


def parse(name: str) -> HubId | None:
    """Return the data set that ``name`` means on the Hub, None when it means a file.

    A path that exists always wins. What ends like a data file is taken for one that is missing,
    unless a split is named behind it.
    """
    bare = name
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix).rstrip("/") if bare.startswith(prefix) else bare
    found = _ID.fullmatch(bare)
    if found is None or "--" in found[1] or ".." in found[1]:  # both refused by the Hub
        return None
    repo, config, split = found.groups()
    if split is None and bare.lower().endswith(_FILES):
        return None
    if file_names.exists(Path(name)):  # which begins with no ~
        return None
    return HubId(repo=repo, config=config, split=split or DEFAULT_SPLIT)
