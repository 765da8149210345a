"""IDs of data sets on the Hugging Face Hub, distinguished from file names without any request."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ftwizard import user_paths

DEFAULT_SPLIT = "train"
_PREFIXES = ("hf://datasets/", "https://huggingface.co/datasets/")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_ID = re.compile(rf"({_PART}/{_PART})(?:/([^/:]{{1,200}}))?(?::([^/]{{1,100}}))?")
FILE_ENDINGS = (
    ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst",
    ".bz2", ".xz", ".zip", ".yaml", ".yml", ".xlsx",
)  # fmt: skip
"""Endings of names that mean a file, existing or not."""


class HubId(msgspec.Struct, frozen=True, kw_only=True):
    """A requested data set: ``owner/name[/config][:split]``."""

    repo: str
    config: str | None = None
    """None for the default configuration of the data set."""
    split: str = DEFAULT_SPLIT


def parse(name: str) -> HubId | None:
    """Parse the ID of a data set on the Hub; return None if ``name`` means a file.

    An existing path always wins. A name with the extension of a data file counts as a missing file
    unless it names a split.
    """
    bare = name
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix).rstrip("/") if bare.startswith(prefix) else bare
    match = _ID.fullmatch(bare)
    if match is None or "--" in match[1] or ".." in match[1]:  # both are invalid on the Hub
        return None
    repo, config, split = match.groups()
    if split is None and bare.lower().endswith(FILE_ENDINGS):
        return None
    if user_paths.exists(Path(name)):  # such a name never begins with ~
        return None
    return HubId(repo=repo, config=config, split=split or DEFAULT_SPLIT)
