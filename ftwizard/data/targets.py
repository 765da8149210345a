"""Where data can go, and what each place takes: the rules of assets/targets.toml."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files
from typing import Literal, get_args

import msgspec

from ftwizard.data.format_names import Format
from ftwizard.data.target_names import TargetName

Severity = Literal["error", "warning", "info"]
Kind = Literal["chat", "prompt", "preference", "labelled", "text", "tokens"]


_LOOKS_LIKE: dict[str, TargetName] = {
    "preference": "trl-dpo",
    "openai-preference": "openai-dpo",
    "kto": "trl-kto",
    "prompt": "openai-rft",
    "vertex": "vertex-gemini",
    "bedrock-converse": "bedrock-nova",
}


class Images(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a target takes of pictures."""

    schemes: tuple[Literal["http", "https", "data", "s3", "gs", "file"], ...]
    types: tuple[str, ...] = ()
    """Of ``image/…``; empty: any."""
    most: int | None = None
    """Pictures in a row."""
    max_bytes: int | None = None
    """Of one picture, decoded."""
    roles: tuple[str, ...] = ("user",)
    all_rows: bool = False
    """Every row has one, or none has; where a row has one, all its messages are lists of parts."""
    or_video: bool = False
    """A row has pictures or a video, never both."""
    unlearnt: bool = False
    """A message that holds one has no weight but 0."""


# Compared by identity: a row's verdict is remembered by the target it was passed for.
class Target(msgspec.Struct, frozen=True, kw_only=True, eq=False, forbid_unknown_fields=True):
    """One place, with one method of training."""

    name: TargetName
    words: str
    """As a person calls it."""
    method: Literal["sft", "dpo", "kto", "rft"]
    kinds: tuple[Kind, ...]
    """What a row may mean (``Example.kind``)."""
    formats: tuple[Format, ...]
    """What is read there as it is; rows of others have to be converted."""
    hosted: bool = True
    """Files are uploaded: JSON Lines in UTF-8, not compressed."""
    bom: Literal["needed", "unwanted"] = "unwanted"
    """The byte-order mark of UTF-8."""
    max_bytes: int | None = None
    min_rows: int = 1
    max_rows: int | None = None
    max_validation_rows: int | None = None
    max_validation_share: float | None = None
    """Bytes of the validation file, of those of the training file: 0.25."""
    roles: tuple[str, ...]
    first: tuple[str, ...] = ()
    """Roles that the first message (after the system's) may have; empty: any."""
    last: tuple[str, ...] = ()
    """Roles that the last message (of the prompt, for preferences) may have; empty: any."""
    alternating: bool = False
    """User and assistant take turns strictly."""
    min_messages: int = 1
    message_keys: tuple[str, ...] = ()
    """Of a message, known there besides those of OpenAI's."""
    one_answer: bool = False
    """Each side of a pair is one message, an assistant's."""
    tools: bool = True
    arguments: Literal["text", "object", "any"] = "any"
    """How the arguments of a tool call are written."""
    call_ids: bool = False
    """Every tool call has an id, and every result names it."""
    weight: bool = False
    """``weight`` of an answer (0 or 1) is obeyed."""
    images: Images | None = None
    """None: text only."""
    media: tuple[str, ...] = ()
    """Types of parts that are taken besides text and pictures: ``video``, ``audio``, …"""
    max_tokens: int | None = None
    """Of a row."""
    reserved: tuple[str, ...] = ()
    """Text that no row may hold."""
    severities: dict[str, Severity | Literal["off"]] = {}
    """By code, where they differ from those of assets/checks.toml."""
    notes: tuple[str, ...] = ()
    """What is to be known before anything is sent there."""
    sources: tuple[str, ...]
    as_of: str

    def severity(self, code: str) -> Severity | None:
        """Return how grave a finding is here, None where it is of no account."""
        found = self.severities.get(code) or severities()[code]
        return None if found == "off" else found


@functools.cache
def severities() -> dict[str, Severity]:
    """Return how grave each code is where a target does not say otherwise."""
    data = tomllib.loads(_asset("checks.toml"))
    return {code: name for name in get_args(Severity) for code in data[name]["codes"]}


@functools.cache
def targets() -> dict[str, Target]:
    """Return every target by its name."""
    data = tomllib.loads(_asset("targets.toml"))
    found = msgspec.convert(data["targets"], tuple[Target, ...], strict=False)
    return {target.name: target for target in found}


def target(name: str) -> Target:
    """Return the target of a name; KeyError for another."""
    return targets()[name]


def usual(format: str | None) -> Target:
    """Return the target that a file of ``format`` looks made for; training here for most."""
    return target(_LOOKS_LIKE.get(format or "", "trl-sft"))


def _asset(name: str) -> str:
    return files("ftwizard").joinpath("assets", name).read_text("utf-8")
