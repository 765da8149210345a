"""A data file divided into two: rows as they stand in it, byte for byte, in its order."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data import formats, grouping, read, records
from ftwizard.data.container import Container, FileProblem, inspect
from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.read import Problem
from ftwizard.data.split import MIN_TRAIN_ROWS, Part, divide
from ftwizard.errors import FtwizardError
from ftwizard.text import plural, visible

Say = Callable[..., None]
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer (FAT, some network shares)."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two files."""

    path: str
    rows: int


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows."""

    path: str
    """The file that was divided."""
    format: Format
    rows: int
    """Usable ones: each is in one of the two files."""
    skipped: int
    """Rows that cannot be used; they are in neither."""
    train: Written
    validation: Written
    written_as: Literal["jsonl", "array"]
    """An array as an array, all else as JSON Lines: rows of JSON as they were, rows of a table as
    objects."""
    share: float
    """Of the rows that was asked for as validation."""
    seed: int
    groups: int
    """Groups of rows that stay together, those of one row included."""
    largest_group: int
    kinds: dict[str, dict[Part, int]]
    """For each kind of row how many are in each file."""
    shared_prompts: int
    """Prompts that stand in both files: none."""


def split_file(
    path: Path,
    format: FormatChoice,
    out: dict[Part, Path],
    *,
    validation: float,
    seed: int,
    skip_bad: bool,
    say: Say,
) -> SplitReport:
    """Write the rows of ``path`` into the files of ``out``, ``train`` and ``validation``.

    Raises FtwizardError for a file that cannot be used, for bad rows unless ``skip_bad``, for too
    few, and where one of the two files is there already.
    """
    for target in out.values():
        _refuse_existing(target)
    container = inspect(path)
    say("reading", what=path.name)
    found, numbers, examples, problems = _examples(path, container, format)
    _refuse(path, problems, good=len(examples), skip_bad=skip_bad)
    say("comparing rows")
    division = divide(examples, validation=validation, seed=seed)
    parts = division.parts
    if parts.count("train") < MIN_TRAIN_ROWS or "validation" not in parts:
        raise FtwizardError(
            f"{plural(len(parts), 'row')} in {plural(division.groups, 'group')} that stay together "
            "are too few to divide.",
            "Add rows; rows of one prompt and near copies are never separated.",
        )
    say("writing")
    as_array = container.kind == "array"
    _write(path, container, dict(zip(numbers, parts, strict=True)), out, as_array=as_array)
    return SplitReport(
        path=str(path),
        format=found,
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
        shared_prompts=_shared(examples, parts),
    )


def _examples(
    path: Path, container: Container, format: FormatChoice
) -> tuple[Format, list[int], list[Example], list[Problem]]:
    """Return the format, of each usable row its number among all and its meaning, and the others'
    problems."""
    values: list[tuple[int, Any]] = []
    for record in records.records(path, container):
        try:
            values.append((record.line, records.decoded(record)))
        except RowProblem as problem:
            values.append((record.line, problem))
    found = (
        formats.tally(value for _, value in values).decide(path).format
        if format == "auto"
        else format
    )
    if found is None:
        raise FileProblem(
            "file_empty", f"{visible(str(path))} holds no row.", "It needs one JSON object a line."
        )
    numbers: list[int] = []
    examples: list[Example] = []
    problems: list[Problem] = []
    for number, (line, value) in enumerate(values):
        try:
            if isinstance(value, RowProblem):
                raise value
            formats.check(formats.recognised(value), found, exactly=format == "auto", row=value)
            examples.append(formats.example(value, found))
            numbers.append(number)
        except RowProblem as problem:
            problems.append(
                Problem(line=line, code=problem.code, message=problem.message, fix=problem.fix)
            )
    return found, numbers, examples, problems


def _refuse(path: Path, problems: list[Problem], *, good: int, skip_bad: bool) -> None:
    if not problems or (skip_bad and good):
        return
    shown = "; ".join(
        f"line {one.line}: {one.message} ({one.fix})" for one in problems[: read.SHOWN_PROBLEMS]
    )
    more = len(problems) - read.SHOWN_PROBLEMS
    raise FtwizardError(
        f"{len(problems):,} of {plural(good + len(problems), 'row')} of {visible(str(path))} "
        f"cannot be used: {shown}{f'; and {more:,} more' if more > 0 else ''}.",
        f"Correct them, or divide the {plural(good, 'good row')} with: --allow skip-bad-rows"
        if good
        else "",
    )


def _shared(examples: list[Example], parts: list[Part]) -> int:
    sides: dict[Part, set[bytes]] = {"train": set(), "validation": set()}
    for one, part in zip(examples, parts, strict=True):
        sides[part].add(grouping.prompt_key(one))
    return len(sides["train"] & sides["validation"])


def _write(
    path: Path,
    container: Container,
    part_of: dict[int, Part],
    out: dict[Part, Path],
    *,
    as_array: bool,
) -> None:
    """Write both files, or none: what is not whole never has a file's name."""
    drafts = {part: to.with_name(f".{to.name}.{os.getpid()}.part") for part, to in out.items()}
    placed: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            files = {part: stack.enter_context(to.open("xb")) for part, to in drafts.items()}
            empty = dict.fromkeys(files, True)
            for number, record in enumerate(records.records(path, container)):
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
            _place(drafts[part], target)
            placed.append(target)
    except BaseException as error:
        for target in placed:
            target.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise FtwizardError(
            f"The two files cannot be written: {error.strerror or error} "
            f"({visible(str(error.filename or ''))}).",
            "Name files in a folder that can be written, with room for them.",
        ) from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _place(draft: Path, target: Path) -> None:
    """Give a file its name; unlike a rename, a link never takes the place of another file."""
    _refuse_existing(target)
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        draft.rename(target)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise FtwizardError(
            f"{visible(str(target))} is there already.", "Name another file, or move it away."
        )
