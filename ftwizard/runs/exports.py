"""The documents of exports: ``export/<form>/export.json``, with what made the files and what was checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ftwizard.jobs.folder import has_hash, hash_file, read_json
from ftwizard.models import weight_files
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.merge_proof import PROOF
from ftwizard.runs.result import Count, MergedModel
from ftwizard.runs.verdict import ShipVerdict
from ftwizard.text import format_bytes, format_count, make_visible

RECORD = "export.json"
"""Written last: a folder without it is not complete."""


class ExportTool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program that wrote the files."""

    name: str
    version: str
    arguments: list[str]
    sha256: str = ""
    """Checksum of the converter's wheel."""


class GgufFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was read back from a GGUF file."""

    architecture: str
    tensors: Count
    types: dict[str, Count]
    """Tensors by data type: ``{"BF16": 211, "F32": 61}``."""
    fallbacks: dict[str, Count] = {}
    """Quantized tensors of another type than the form's: their rows are not divisible by 256."""
    template_equal: bool | None
    """Whether the chat template is that of the training; None if neither has one."""
    end_ids: list[int]
    """Tokens that end an answer in the file's metadata."""
    bos_id: int | None = None
    adds_bos: bool = False
    """Whether llama.cpp adds the BOS token to each prompt."""
    context: Count = 0
    """Tokens of the longest context."""


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``export.json``: one form of a model."""

    form: str
    """As in a plan: ``gguf``, ``gguf:q4_k_m``, ``ollama``, ``vllm``."""
    source: str
    """Folder of the merged model."""
    source_hashes: dict[str, str]
    """XXH3-128 of the weights and the tokenizer that it was made from, by file name."""
    files: dict[str, Count]
    """Bytes of each file in the folder, without this one."""
    hashes: dict[str, str] = {}
    """XXH3-128 of each file."""
    tools: list[ExportTool] = []
    gguf: GgufFacts | None = None
    model: str = ""
    """The file or folder to serve, relative to the folder of this record unless absolute."""
    answer: str | None = None
    """Answer of the loaded file to ``PROMPT``; None if it was not loaded."""
    findings: list[str] = []
    """What a person should know, a sentence each."""
    commands: dict[str, str] = {}
    """Commands for a shell, by what they do."""
    version: str
    """ftwizard's version."""
    created: float
    """Unix seconds."""
    seconds: float


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """Output of ``export --json``."""

    exports: list[ExportRecord]
    folders: list[str]
    """Folder of each export."""
    reused: list[str]
    """Forms that were there already, from the same model by the same converter."""


def read_record(folder: Path) -> ExportRecord | None:
    """Read the record of a complete export; None if it is missing, damaged, or lacks a file."""
    record = read_json(folder / RECORD, ExportRecord)
    if record is None:
        return None
    for name, size in record.files.items():
        try:
            if (folder / name).stat().st_size != size:
                return None
        except OSError:
            return None
    return record


def iterate_records(folder: Path) -> Iterator[tuple[Path, ExportRecord]]:
    """Yield the complete exports below a folder, with their folders, in the order of their names."""
    for path in sorted(folder.glob(f"*/{RECORD}")):
        if not path.parent.name.startswith(".") and (record := read_record(path.parent)):
            yield path.parent, record


def find_changed(folder: Path) -> tuple[ExportRecord | None, list[str]]:
    """Return the record of an export, and its files that are gone or not as they were written.

    Every byte is read. Without a record, nothing is known to have changed.
    """
    record = read_json(folder / RECORD, ExportRecord)
    hashes = record.hashes if record else {}
    return record, [n for n, digest in hashes.items() if not has_hash(folder / n, digest)]


def is_of_another(record: ExportRecord, merged: MergedModel | None) -> bool:
    """Return whether an export was made from another merged model, such as one of full strength."""
    hashes = merged.hashes if merged else {}
    sources = record.source_hashes.items()
    return any(hashes.get(name, digest) != digest for name, digest in sources)


def hash_model(model: Path) -> dict[str, str]:
    """Return the XXH3-128 of each file that determines an export, by name; about 0.2 s/GB."""
    small = [path for path in model.iterdir() if path.suffix in (".json", ".jinja", ".model")]
    paths = {path.name: path for path in (*small, *weight_files.list_files(model))}
    return {name: hash_file(paths[name]) for name in sorted(paths) if name not in (MARKER, PROOF)}


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """The rehearsal of exports on one base model, before a training."""

    base: str
    """Name of the base model."""
    forms: list[str]
    seconds: float
    parts: dict[str, float]
    """Seconds of each part: ``adapter``, ``merge``, and each form."""
    findings: list[str]
    """What the trained model's exports will have, too."""
    created: float
    """Unix seconds."""


class RehearsalReport(Rehearsal, frozen=True, kw_only=True):
    """Output of ``rehearse --json``."""

    reused: bool
    """Whether the same was rehearsed before, and was not repeated."""


PUSH_RECORD = "push.json"
"""In a run's folder: the newest upload."""


class UploadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload would send, and where."""

    repo: str
    private: bool
    content: str
    """``merged`` or ``adapter``."""
    files: dict[str, Count]
    """Bytes by path in the repository."""
    base: str
    license: str | None
    """Of the base model; None if unknown."""
    gated: bool | None
    """Whether the Hub serves the base only after its terms were accepted; None if unknown."""
    card: Literal["new", "edited", "older"]
    """The model card: from the record, or the run's own as a person edited it; ``older``: before the
    model's newest result."""
    ship: ShipVerdict | None
    """Verdict of the evaluation; None without one."""
    user: str
    """Owner of the token."""


class PushRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``push.json``: an upload that was completed."""

    repo: str
    url: str
    """Page of the commit."""
    commit: str
    private: bool
    content: str
    files: dict[str, Count]
    created: float
    """Unix seconds."""


class PushReport(msgspec.Struct, frozen=True, kw_only=True):
    """Output of ``push --json``."""

    plan: UploadPlan
    pushed: PushRecord | None
    """None where the user declined."""


MAX_LISTED_FILES = 12
_CARDS = {"new": "new, from the record of the run", "edited": "card.md, as you edited it",
          "older": "card.md, as you edited it: older than the model's newest result"}  # fmt: skip


class UploadText(NamedTuple):
    """What an upload would send and where, and what to know before, in lines."""

    facts: list[str]
    files: list[str]
    warnings: list[str]


def describe_upload(plan: UploadPlan, run_id: str) -> UploadText:
    """Describe an upload before it begins."""
    sizes = sorted(plan.files.items(), key=lambda item: -item[1])
    files = [f"{make_visible(name, 80)}  {format_bytes(size)}" for name, size in sizes]
    if len(files) > MAX_LISTED_FILES:
        more = format_count(len(files) - MAX_LISTED_FILES, "smaller file")
        files = [*files[:MAX_LISTED_FILES], f"and {more}"]
    who = "only you and your organization can see" if plan.private else "everybody can see"
    total = format_bytes(sum(plan.files.values()))
    count = format_count(len(plan.files), "file")
    base, license = make_visible(plan.base, 120), plan.license or "unknown"
    facts = [
        f"Upload of the {plan.content} model: {count}, {total}, as {make_visible(plan.user, 60)}.",
        f"To: {make_visible(plan.repo, 120)}, which {who}",
        f"Base model: {base}, license: {license}. Its terms apply to what you upload.",
        f"Model card: {_CARDS[plan.card]}.",
    ]
    warnings = []
    if plan.ship != "ship":
        warnings.append(_VERDICTS[plan.ship].format(id=run_id))
    if plan.gated:
        warnings.append(f"{base} is gated: the Hub serves it only after its terms were accepted.")
    if plan.license is None:
        warnings.append("Check the license of the base model before others can see the upload.")
    return UploadText(facts, files, warnings)


_VERDICTS = {
    "do_not_ship": "The evaluation says not to ship this model: see ftwizard status {id}",
    "cannot_tell": "The evaluation cannot tell whether to ship this model: see ftwizard status {id}",
    None: "This model was not evaluated: ftwizard eval {id}",
}
