"""Splitting of a data file into two files, with rows unchanged and in order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data import formats, grouping, reader
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.io import records
from ftwizard.data.io.inspect import Container, FileProblem, inspect
from ftwizard.data.new_file import publish, require_free
from ftwizard.data.reader import BadRow
from ftwizard.data.split import MIN_TRAIN_ROWS, SplitPart, divide
from ftwizard.errors import FtwizardError
from ftwizard.text import format_count, make_visible

Say = Callable[..., None]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two output files."""

    path: str
    rows: int


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a split."""

    path: str
    """The input file."""
    format: Format
    rows: int
    """Usable rows; each is in one of the two files."""
    skipped: int
    """Unusable rows; they are in neither file."""
    train: Written
    validation: Written
    written_as: Literal["jsonl", "array"]
    """``array`` for an array, else JSON Lines. JSON rows are copied unchanged, table rows become
    objects."""
    share: float
    """Requested share of validation rows, 0–1."""
    seed: int
    groups: int
    """Groups of rows that stay together, including single rows."""
    largest_group: int
    kinds: dict[str, dict[SplitPart, int]]
    """Number of rows in each file, for each kind of row."""
    shared_prompts: int
    """Prompts in both files; always 0."""


def split_file(
    path: Path,
    format: FormatChoice,
    out: dict[SplitPart, Path],
    *,
    validation: float,
    seed: int,
    skip_bad: bool,
    say: Say,
) -> SplitReport:
    """Write the rows of ``path`` into the files of ``out``, ``train`` and ``validation``.

    Raises FtwizardError for an unusable file, for bad rows unless ``skip_bad``, for too few rows,
    and if an output file exists.
    """
    for target in out.values():
        require_free(target)
    container = inspect(path)
    say("reading", what=path.name)
    detected, numbers, examples, problems = _read_examples(path, container, format)
    _check_problems(path, problems, good=len(examples), skip_bad=skip_bad)
    say("comparing rows")
    division = divide(examples, validation=validation, seed=seed)
    parts = division.parts
    if parts.count("train") < MIN_TRAIN_ROWS or "validation" not in parts:
        raise FtwizardError(
            f"{format_count(len(parts), 'row')} in {format_count(division.groups, 'group')} that must stay "
            "together are too few to split.",
            "Add rows. Rows with the same prompt and near-duplicates are never separated.",
        )
    say("writing")
    as_array = container.kind == "array"
    _write_files(path, container, dict(zip(numbers, parts, strict=True)), out, as_array=as_array)
    return SplitReport(
        path=str(path),
        format=detected,
        rows=len(examples),
        skipped=len(problems),
        train=Written(path=str(out["train"]), rows=parts.count("train")),
        validation=Written(path=str(out["validation"]), rows=parts.count("validation")),
        written_as="array" if as_array else "jsonl",
        share=validation,
        seed=seed,
        groups=division.groups,
        largest_group=division.largest,
        kinds=division.kinds,
        shared_prompts=_count_shared_prompts(examples, parts),
    )


def _read_examples(
    path: Path, container: Container, format: FormatChoice
) -> tuple[Format, list[int], list[Example], list[BadRow]]:
    """Return the format, the number and example of each usable row, and problems of the others."""
    values: list[tuple[int, Any]] = []
    for record in records.read_records(path, container):
        try:
            values.append((record.line, records.decode_record(record)))
        except RowProblem as problem:
            values.append((record.line, problem))
    detected = (
        formats.count_formats(value for _, value in values).decide(path).format
        if format == "auto"
        else format
    )
    if detected is None:
        raise FileProblem(
            "file_empty",
            f"{make_visible(str(path))} has no rows.",
            "Use a file with one JSON object per line.",
        )
    numbers: list[int] = []
    examples: list[Example] = []
    problems: list[BadRow] = []
    for number, (line, value) in enumerate(values):
        try:
            if isinstance(value, RowProblem):
                raise value
            formats.check_format(
                formats.match_formats(value), detected, exactly=format == "auto", row=value
            )
            examples.append(formats.to_example(value, detected))
            numbers.append(number)
        except RowProblem as problem:
            problems.append(
                BadRow(line=line, code=problem.code, message=problem.message, fix=problem.fix)
            )
    return detected, numbers, examples, problems


def _check_problems(path: Path, problems: list[BadRow], *, good: int, skip_bad: bool) -> None:
    if not problems or (skip_bad and good):
        return
    shown = "; ".join(
        f"line {problem.line}: {problem.message} ({problem.fix})"
        for problem in problems[: reader.MAX_SHOWN_PROBLEMS]
    )
    more = len(problems) - reader.MAX_SHOWN_PROBLEMS
    raise FtwizardError(
        f"{len(problems):,} of {format_count(good + len(problems), 'row')} in {make_visible(str(path))} "
        f"cannot be used: {shown}{f'; and {more:,} more' if more > 0 else ''}.",
        f"Fix them, or split the {format_count(good, 'good row')} with --allow skip-bad-rows."
        if good
        else "",
    )


def _count_shared_prompts(examples: list[Example], parts: list[SplitPart]) -> int:
    sides: dict[SplitPart, set[bytes]] = {"train": set(), "validation": set()}
    for example, part in zip(examples, parts, strict=True):
        sides[part].add(grouping.prompt_key(example))
    return len(sides["train"] & sides["validation"])


def _write_files(
    path: Path,
    container: Container,
    part_of: dict[int, SplitPart],
    out: dict[SplitPart, Path],
    *,
    as_array: bool,
) -> None:
    """Write both files atomically, or neither."""
    drafts = {part: to.with_name(f".{to.name}.{os.getpid()}.part") for part, to in out.items()}
    placed: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            files = {part: stack.enter_context(to.open("xb")) for part, to in drafts.items()}
            empty = dict.fromkeys(files, True)
            for number, record in enumerate(records.read_records(path, container)):
                if (part := part_of.get(number)) is None:
                    continue
                value = record.value
                data = value if isinstance(value, bytes) else msgspec.json.encode(value)
                between = b"" if not as_array else b"[\n" if empty[part] else b",\n"
                files[part].write(between + data + (b"" if as_array else b"\n"))
                empty[part] = False
            for file in files.values():
                file.write(b"\n]\n" if as_array else b"")
                file.flush()
                os.fsync(file.fileno())
        for part, target in out.items():
            publish(drafts[part], target)
            placed.append(target)
    except BaseException as error:
        for target in placed:
            target.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise FtwizardError(
            f"The files could not be written: {error.strerror or error} "
            f"({make_visible(str(error.filename or ''))}).",
            "Name files in a writable folder with enough free disk space.",
        ) from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
