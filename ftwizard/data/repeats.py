"""What stands in a file, or in two files, more than once: rows, prompts, answers, openings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.found import SHOWN_LINES, FileFound
from ftwizard.data.facts import NOTHING, Facts, distinct, groups
from ftwizard.text import plural

MIN_ROWS = 100
"""Below this many rows, shares say nothing of variety."""
MIN_ALIKE = 20
"""Where so many rows have one answer between them all, nothing else can be learnt."""
OPENING_SHARE = 0.3
ANSWER_SHARE = 0.2
LABELS = 20
"""So few different answers are labels, which repeat by their nature."""


def within(facts: Facts) -> Iterator[FileFound]:
    """Yield what repeats itself in one file: duplicates, contradictions, lack of variety (D7)."""
    yield from _duplicates(facts)
    yield from _conflicts(facts)
    yield from _variety(facts)


def between(train: Facts, validation: Facts) -> Iterator[FileFound]:
    """Yield rows and prompts of ``validation`` that stand in ``train`` too; lines are its own."""
    import numpy as np

    _, prompts, answers, _ = train.columns()
    lines, their_prompts, their_answers, _ = validation.columns()
    if not len(prompts) or not len(lines):
        return
    seen = np.isin(_pairs(their_prompts, their_answers), _pairs(prompts, answers))
    if count := int(seen.sum()):
        yield FileFound(
            code="leakage",
            message="stands in the training data word for word: the loss on it says how well it was "
            "learnt by heart",
            fix="take them out of one of the two: ftwizard split makes parts without this",
            count=count,
            lines=_shown(lines, np.flatnonzero(seen)),
        )
    known = np.isin(their_prompts, prompts) & ~seen & (their_prompts != NOTHING)
    if count := int(known.sum()):
        yield FileFound(
            code="prompt_leakage",
            message="its prompt stands in the training data with another answer",
            fix="keep all rows of a prompt on one side: ftwizard split does",
            count=count,
            lines=_shown(lines, np.flatnonzero(known)),
        )


def _duplicates(facts: Facts) -> Iterator[FileFound]:
    import numpy as np

    lines, prompts, answers, _ = facts.columns()
    rows = np.c_[prompts, answers]
    known = np.flatnonzero((prompts != NOTHING) | (answers != NOTHING))
    later = [known[group][np.argsort(lines[known[group]])][1:] for group in groups(rows[known])]
    if later:
        places = np.concatenate(later)
        yield FileFound(
            code="duplicate",
            message="the same as an earlier row, word for word",
            fix="keep one of each (check --fix OUT does): repeats are learnt by heart",
            count=len(places),
            lines=_shown(lines, places),
        )


def _conflicts(facts: Facts) -> Iterator[FileFound]:
    import numpy as np

    lines, prompts, answers, _ = facts.columns()
    known = np.flatnonzero((prompts != NOTHING) & (answers != NOTHING))
    prompts, answers = prompts[known], answers[known]
    unlike = [known[group] for group in groups(prompts) if distinct(answers[group]) > 1]
    if unlike:
        places = np.concatenate(unlike)
        yield FileFound(
            code="conflict",
            message=f"{plural(len(unlike), 'prompt')} {'has' if len(unlike) == 1 else 'have'} "
            f"different answers, in {plural(len(places), 'row')}",
            fix="keep the answer that is right, unless variety is what is to be learnt",
            count=len(places),
            lines=_shown(lines, places),
        )


def _variety(facts: Facts) -> Iterator[FileFound]:
    import numpy as np

    lines, _, answers, openings = facts.columns()
    known = np.flatnonzero(answers != NOTHING)
    different = distinct(answers[known])
    only_one = different == 1 and len(known) >= MIN_ALIKE
    if not only_one and (len(known) < MIN_ROWS or different <= LABELS):
        return
    for column, code, share, what, fix in (
        (answers, "repeated_answer", ANSWER_SHARE, "give the very same answer",
         "a model that is taught one answer gives it to everything: thin these rows out"),
        (openings, "repeated_opening", OPENING_SHARE, "begin their answer with the same words",
         "vary how answers begin, unless the form is what is to be learnt"),
    ):  # fmt: skip
        places = _most_frequent(column)
        if len(places) >= share * len(known):
            yield FileFound(
                code=code,
                message=f"{len(places):,} of {plural(len(known), 'row')} "
                f"({len(places) / len(known):.0%}) {what}, the first at line "
                f"{int(lines[places].min()):,}",
                fix=fix,
                count=len(places),
                lines=_shown(lines, places),
            )


def _most_frequent(column: Any) -> Any:
    """Return the places of the value that stands most often, ``NOTHING`` apart."""
    import numpy as np

    values, counts = np.unique(column[column != NOTHING], return_counts=True)
    if not len(values):
        return np.empty(0, np.int64)
    return np.flatnonzero(column == values[np.argmax(counts)])


def _pairs(prompts: Any, answers: Any) -> Any:
    """Return one number for each prompt with its answer, as unlikely to collide as they are."""
    import numpy as np

    with np.errstate(over="ignore"):
        return prompts * np.uint64(0x9E3779B97F4A7C15) ^ answers


def _shown(lines: Any, places: Any) -> list[int]:
    import numpy as np

    return [int(line) for line in np.sort(lines[places])[:SHOWN_LINES]]
