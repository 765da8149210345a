"""Exact duplicates of rows, prompts, answers and openings, within a file or between two files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.dedup.row_hashes import NOTHING, RowHashes, count_distinct, find_equal_groups
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding
from ftwizard.text import format_count

MIN_ROWS = 100
"""Fewer rows say nothing about variety."""
MIN_ALIKE = 20
"""Report a file of this many rows that all have the same answer."""
OPENING_SHARE = 0.3
ANSWER_SHARE = 0.2
MAX_LABELS = 20
"""Up to this many distinct answers are class labels, which repeat naturally."""


def find_repeats(hashes: RowHashes) -> Iterator[FileFinding]:
    """Yield repetitions within a file: duplicates, conflicting answers, lack of variety."""
    yield from _duplicates(hashes)
    yield from _conflicts(hashes)
    yield from _variety(hashes)


def find_leakage(train_hashes: RowHashes, val_hashes: RowHashes) -> Iterator[FileFinding]:
    """Yield rows and prompts of ``validation`` that are also in ``train``, by validation lines."""
    import numpy as np

    _, prompts, answers, _ = train_hashes.columns()
    lines, val_prompts, val_answers, _ = val_hashes.columns()
    if not len(prompts) or not len(lines):
        return
    leaked = np.isin(_combine(val_prompts, val_answers), _combine(prompts, answers))
    if count := int(leaked.sum()):
        yield FileFinding(
            code="leakage",
            message="also in the training data, word for word: its loss measures memorization",
            fix="remove it from one of the two, or split again with ftwizard split",
            count=count,
            lines=_shown_lines(lines, np.flatnonzero(leaked)),
        )
    same_prompt = np.isin(val_prompts, prompts) & ~leaked & (val_prompts != NOTHING)
    if count := int(same_prompt.sum()):
        yield FileFinding(
            code="prompt_leakage",
            message="its prompt is in the training data with another answer",
            fix="keep all rows of a prompt in one part, as ftwizard split does",
            count=count,
            lines=_shown_lines(lines, np.flatnonzero(same_prompt)),
        )


def _duplicates(hashes: RowHashes) -> Iterator[FileFinding]:
    import numpy as np

    lines, prompts, answers, _ = hashes.columns()
    rows = np.c_[prompts, answers]
    hashed = np.flatnonzero((prompts != NOTHING) | (answers != NOTHING))
    later = [
        hashed[group][np.argsort(lines[hashed[group]])][1:]
        for group in find_equal_groups(rows[hashed])
    ]
    if later:
        indices = np.concatenate(later)
        yield FileFinding(
            code="duplicate",
            message="identical to an earlier row",
            fix="keep one of each (check --fix OUT does): duplicates lead to memorization",
            count=len(indices),
            lines=_shown_lines(lines, indices),
        )


def _conflicts(hashes: RowHashes) -> Iterator[FileFinding]:
    import numpy as np

    lines, prompts, answers, _ = hashes.columns()
    hashed = np.flatnonzero((prompts != NOTHING) & (answers != NOTHING))
    prompts, answers = prompts[hashed], answers[hashed]
    conflicts = [
        hashed[group] for group in find_equal_groups(prompts) if count_distinct(answers[group]) > 1
    ]
    if conflicts:
        indices = np.concatenate(conflicts)
        yield FileFinding(
            code="conflict",
            message=f"{format_count(len(conflicts), 'prompt')} "
            f"{'has' if len(conflicts) == 1 else 'have'} different answers in "
            f"{format_count(len(indices), 'row')}",
            fix="keep the right answer, unless the model should vary its answers",
            count=len(indices),
            lines=_shown_lines(lines, indices),
        )


def _variety(hashes: RowHashes) -> Iterator[FileFinding]:
    import numpy as np

    lines, _, answers, openings = hashes.columns()
    answered = np.flatnonzero(answers != NOTHING)
    different = count_distinct(answers[answered])
    only_one = different == 1 and len(answered) >= MIN_ALIKE
    if not only_one and (len(answered) < MIN_ROWS or different <= MAX_LABELS):
        return
    for column, code, min_share, observation, fix in (
        (answers, "repeated_answer", ANSWER_SHARE, "have the same answer",
         "remove most of these rows: the model would give this answer to everything"),
        (openings, "repeated_opening", OPENING_SHARE, "start their answer with the same words",
         "vary how answers start, unless the model should learn this form"),
    ):  # fmt: skip
        indices = _most_frequent(column)
        if len(indices) >= min_share * len(answered):
            yield FileFinding(
                code=code,
                message=f"{len(indices):,} of {format_count(len(answered), 'row')} "
                f"({len(indices) / len(answered):.0%}) {observation}, the first at line "
                f"{int(lines[indices].min()):,}",
                fix=fix,
                count=len(indices),
                lines=_shown_lines(lines, indices),
            )


def _most_frequent(column: Any) -> Any:
    """Return the indices of the most frequent value other than ``NOTHING``."""
    import numpy as np

    values, counts = np.unique(column[column != NOTHING], return_counts=True)
    if not len(values):
        return np.empty(0, np.int64)
    return np.flatnonzero(column == values[np.argmax(counts)])


def _combine(prompts: Any, answers: Any) -> Any:
    """Combine the hashes of prompts and answers into one hash per row."""
    import numpy as np

    with np.errstate(over="ignore"):
        return prompts * np.uint64(0x9E3779B97F4A7C15) ^ answers


def _shown_lines(lines: Any, indices: Any) -> list[int]:
    import numpy as np

    return [int(line) for line in np.sort(lines[indices])[:MAX_SHOWN_LINES]]
