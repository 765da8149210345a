"""The tokens of a file: of rows drawn from all over it at once, of every row where it is asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ftwizard.data import encodings, formats, parts, ranges, records, strict_json, tokens
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem
from ftwizard.data.format_names import Format
from ftwizard.data.parts import Part, Say
from ftwizard.data.targets import Target
from ftwizard.data.tokens import Counts, Tally

BLOCKS = 512
"""Of 64 KB: half a second, for an interval of 1 to 3 % on chats of many languages."""
FIRST_BLOCKS = 64


def exact(
    path: Path, container: Container, format: Format, target: Target, limit: int | None, *,
    say: Say, processes: int | None = None, model: str | None = None,
) -> Counts:  # fmt: skip
    """Count every row that can be read, by the tokenizer of ``model`` if one is named.

    Raises FileProblem.
    """
    if not container.plain:
        found = Tally(target, encodings.choose(target, model), limit)
        for record in records.records(path, container):
            _add(found, record.line, record.value, format)
        return found.counts()
    work = functools.partial(_part, format=format, target=target, limit=limit, model=model)
    results = parts.in_order(work, parts.parts_of(path, container), processes, say)
    found, lines = next(results)
    for part, count in results:
        found.extend(part, lines)
        lines += count
    return found.counts()


def estimated(
    path: Path, container: Container, format: Format, target: Target, limit: int | None, *,
    blocks: int = BLOCKS, model: str | None = None,
) -> Counts | None:  # fmt: skip
    """Estimate the tokens of a file from ``blocks`` of rows all over it.

    Rows that stand together are often alike, so that it is blocks, not rows, that vary by chance
    (cluster sampling: Cochran, Sampling Techniques, 3rd ed., chapter 9). None where too few rows
    can be read. Raises FileProblem.
    """
    found = Tally(target, encodings.choose(target, model), limit)
    every: list[tuple[int, int]] = []
    learnt: list[tuple[int, int]] = []
    end = -1
    for sampled in ranges.sample(path, container, blocks=blocks):
        if not isinstance(sampled.value, bytes) or sampled.offset is None:
            continue
        tokens_, trained = _add(found, sampled.line or 0, sampled.value, format) or (0, 0)
        size = len(sampled.value) + 1  # with its end of line, as the file's size has it
        if sampled.offset != end:
            every.append((0, 0))
            learnt.append((0, 0))
        every[-1] = (every[-1][0] + size, every[-1][1] + tokens_)
        learnt[-1] = (learnt[-1][0] + size, learnt[-1][1] + trained)
        end = sampled.offset + size
    if len(every) == 1 and every[0][0] > container.size // 2:  # all rows are there
        return found.counts()
    all_blocks = max(len(every), container.size // ranges.PEEK)
    try:
        return tokens.sampled(
            found.counts(),
            tokens.sample_estimate(every, container.size, all_blocks),
            tokens.sample_estimate(learnt, container.size, all_blocks),
        )
    except ValueError:
        return None


def _part(
    part: Part, format: Format, target: Target, limit: int | None, model: str | None
) -> tuple[Tally, int]:
    found, lines = Tally(target, encodings.choose(target, model), limit), 0
    for block in part.blocks():
        lines += block.height
        for number, raw in enumerate(block.lines(), block.line):
            if raw.strip():
                _add(found, number, raw, format)
    return found, lines


def _add(tally: Tally, line: int, value: Any, format: Format) -> tuple[int, int] | None:
    """Count a row; return its tokens, and those learnt; None where it cannot be read."""
    try:
        if isinstance(value, bytes):
            value = strict_json.decode(value)
        if isinstance(value, RowProblem):
            return None
        return tally.add(line, formats.example(value, format))
    except RowProblem:
        return None
