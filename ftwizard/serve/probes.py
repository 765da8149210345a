"""The prompts that a chain of custody asks every form of a model: 20, of several kinds."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from ftwizard.data.conversation import Conversation
from ftwizard.jobs.folder import JobFolder
from ftwizard.train import dataset

PROBES = 20
MIN_PACKAGED = 6
"""Packaged prompts among them: with system prompt, without, of several turns, in other scripts."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None

    @property
    def has_system(self) -> bool:
        """Return whether it begins with a system prompt."""
        return self.messages[0]["role"] in ("system", "developer")

    @property
    def turns(self) -> int:
        """Return the number of messages, without the system prompt."""
        return len(self.messages) - self.has_system


def choose(folder: JobFolder) -> list[Probe]:
    """Return prompts of the run's test set, spread over it, and packaged ones for the rest."""
    rows = _read_rows(folder)
    count = min(len(rows), PROBES - MIN_PACKAGED)
    chosen = [rows[index * len(rows) // count] for index in range(count)]
    own = [Probe(messages=row.prompt, tools=row.tools) for row in chosen]
    return [*own, *_read_packaged()[: PROBES - len(own)]]


def _read_rows(folder: JobFolder) -> list[Conversation]:
    try:
        saved = dataset.read_test_set(folder)
    except (OSError, msgspec.MsgspecError):
        return []
    rows = [row.conversation for row in saved.rows]
    return [row for row in rows if row.prompt and row.prompt[-1]["role"] in ("user", "tool")]


def _read_packaged() -> list[Probe]:
    """Return the packaged prompts, which are ordered so that the first few are of every kind."""
    text = files("ftwizard").joinpath("assets/custody_prompts.jsonl").read_text("utf-8")
    probes = [msgspec.json.decode(line, type=Probe) for line in text.splitlines()]
    kinds = [(probe.has_system, probe.turns > 1) for probe in probes]
    firsts = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    seconds = [
        kinds.index(kinds[first], first + 1) for first in firsts if kinds.count(kinds[first]) > 1
    ]
    order = dict.fromkeys([*firsts, *seconds, *range(len(probes))])
    return [probes[index] for index in order]
