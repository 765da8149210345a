"""Memorization: ids and verbatim text of the training set in answers whose prompts lack them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ftwizard.data.dedup.canonical_text import messages_text, normalize_text
from ftwizard.data.dedup.near_duplicates import NearIndex
from ftwizard.evaluate.failures.identifiers import Identifier, find_identifiers
from ftwizard.evaluate.failures.inputs import (
    MAX_EXAMPLES,
    TARGET,
    FailureInputs,
    Pair,
    TrainingRow,
    to_flip,
)
from ftwizard.evaluate.repeated_items import is_same_question
from ftwizard.runs.evaluation import Action, Failure, Needs
from ftwizard.runs.ship_verdict import FEW_ITEMS, MAX_CONTAMINATED_SHARE

RUN_WORDS = 10
"""Words of a verbatim run: about 13 tokens, the upper end of what is used to tell copied text from
common phrases (8 to 13)."""
MIN_OWN_WORDS = 4
"""Words of a run that its prompt lacks and that fewer than ``COMMON_WORD_SHARE`` of the training
answers have: a template into which words of the prompt were put is no memory."""
COMMON_WORD_SHARE = 0.2
COMMON_SHARE = 0.05
MIN_COMMON_ROWS = 3
"""An id or run in this many training rows, and in this share of them, is part of the format that the
data asks for: a signature, a company's own number."""
MIN_LEAKED_IDS = 2
"""Different ids: one may be luck."""
MIN_VERBATIM = 3
MIN_VERBATIM_SHARE = 0.02
_WORD = re.compile(r"\w+")
Run = tuple[str, ...]
_T = TypeVar("_T", bound=Hashable)


class Leak(NamedTuple):
    """What an answer repeats of the training set."""

    pair: Pair
    ids: list[Identifier]
    run: str
    """The longest verbatim run; empty if there is none."""
    line: int | None
    """Of the first training row that has it."""


def find_memorization(inputs: FailureInputs) -> Failure:
    """Search the answers to all sets for ids and verbatim runs of the training rows.

    What the prompt has, what the base model also answers, what many training rows share and what
    the item expects word by word does not count; an id that an item expects does: it is a fact that
    the model knows from training. Evidence: ``n``, ``contaminated`` (test items that the training
    set has as well, with ``contaminated_lines``: item's line → training line), ``leaked_ids``
    (without personal data), ``leaked_kinds`` (of personal data), ``leaked_id_count``,
    ``answers_with_ids``, ``verbatim`` (answers), ``longest_run`` (words), ``lines`` (of training
    rows that were repeated, without general rows that were mixed in).
    """
    contaminated = find_contaminated(inputs.pairs(TARGET), inputs.rows)
    pairs = [pair for pair in inputs.evaluated if pair.item.id not in contaminated]
    evidence: dict[str, Any] = {"n": len(pairs)}
    target = inputs.pairs(TARGET)
    is_contaminated = False
    if contaminated:
        is_contaminated = len(contaminated) > MAX_CONTAMINATED_SHARE * len(target)
        lines = {pair.item.line: contaminated.get(pair.item.id) for pair in target}
        evidence |= {"contaminated": len(contaminated), "contaminated_of": len(target)}
        evidence["contaminated_lines"] = {str(k): v for k, v in lines.items() if k and v and v > 0}
    if not inputs.rows or len(pairs) < FEW_ITEMS:
        needs: Needs = "items" if inputs.rows and pairs else "data"
        return Failure(name="memorization", found=None, needs=needs, evidence=evidence)
    leaks = find_leaks(pairs, inputs.rows)
    verdict = _judge(leaks, len(pairs), evidence)
    if verdict is False and is_contaminated:
        verdict = None  # most of what could show it was left out
    leaks.sort(key=lambda leak: (len(leak.ids), len(leak.run)), reverse=True)
    examples = [to_flip(leak.pair) for leak in leaks[:MAX_EXAMPLES]]
    to_drop = evidence["lines"] if verdict else []
    actions = [Action(kind="drop_rows", lines=to_drop)] if to_drop else []
    return Failure(
        name="memorization", found=verdict, needs="items" if verdict is None else "", evidence=evidence,
        examples=examples, actions=actions,
    )  # fmt: skip


def _rank_line(line: int) -> tuple[bool, int]:
    """Return what to choose a row by: one of the training file before one that was mixed in."""
    return line < 0, abs(line)


def _judge(leaks: Sequence[Leak], answers: int, evidence: dict[str, Any]) -> bool | None:
    ids = Counter(identifier.value for leak in leaks for identifier in leak.ids)
    # Secrets and personal data are counted by kind, and not repeated once more.
    personal = {i.value: i.kind for leak in leaks for i in leak.ids if i.is_personal}
    verbatim = [leak for leak in leaks if leak.run]
    lines = Counter(leak.line for leak in leaks if leak.line is not None)
    evidence |= {
        "leaked_ids": [value for value, _ in ids.most_common(20) if value not in personal],
        "leaked_kinds": dict(Counter(personal.values())),
        "leaked_id_count": len(ids),
        "answers_with_ids": sum(bool(leak.ids) for leak in leaks),
        "verbatim": len(verbatim),
        "longest_run": max((leak.run for leak in verbatim), key=len, default=""),
        "lines": sorted(line for line in lines if line > 0),
    }
    if len(ids) >= MIN_LEAKED_IDS:
        return True
    if len(verbatim) >= max(MIN_VERBATIM, MIN_VERBATIM_SHARE * answers):
        return True
    is_doubtful = ids or len(verbatim) >= max(MIN_VERBATIM - 1, MIN_VERBATIM_SHARE * answers)
    return None if is_doubtful else False


def find_contaminated(pairs: Sequence[Pair], rows: Sequence[TrainingRow]) -> dict[str, int]:
    """Return the items whose prompt is in the training set, with the line of its row.

    Equal prompts count always, near-duplicates if half of the words of the answers are the same,
    too. Answers alone prove nothing: many rows may have one canned reply.
    """
    by_prompt: dict[str, TrainingRow] = {}
    for row in rows:
        if row.prompt:
            by_prompt.setdefault(normalize_text(row.prompt), row)
    by_line = {row.line: row for row in by_prompt.values()}
    index = NearIndex(lambda line: by_line[line].prompt)
    for line, row in by_line.items():
        index.add(line, row.prompt)
    texts = [messages_text(pair.item.messages) for pair in pairs]
    contaminated: dict[str, int] = {}
    for pair, text in zip(pairs, texts, strict=True):
        if equal := by_prompt.get(normalize_text(text)):
            contaminated[pair.item.id] = equal.line
    for number, line in index.nearest(enumerate(texts)):
        item, row = pairs[number].item, by_line[line]
        if item.id not in contaminated and is_same_question(
            texts[number], row.prompt, item.expected, row.answer
        ):
            contaminated[item.id] = line
    return contaminated


def find_leaks(pairs: Sequence[Pair], rows: Sequence[TrainingRow]) -> list[Leak]:
    """Return the answers that repeat ids or runs of training rows, in the order of ``pairs``."""
    by_ids = find_leaked_ids(pairs, rows)
    by_runs = _find_runs(pairs, rows)
    leaks = []
    for number, pair in enumerate(pairs):
        ids = by_ids.get(number, {})
        run, line = by_runs.get(number, ("", None))
        if ids or run:
            line = line if line is not None else min(ids.values(), key=_rank_line)
            leaks.append(Leak(pair, sorted(ids), run, line))
    return leaks


def find_leaked_ids(
    pairs: Sequence[Pair], rows: Sequence[TrainingRow]
) -> dict[int, dict[Identifier, int]]:
    """Return the leaked ids of answers by position, with the line of the first row that has each."""
    base = {value.value for pair in pairs for value in find_identifiers(pair.base.text)}
    suspects: dict[int, set[Identifier]] = {}
    for number, pair in enumerate(pairs):
        prompt = pair.prompt
        in_prompt = {value.value for value in find_identifiers(prompt)}
        suspects[number] = {
            identifier
            for identifier in find_identifiers(pair.tuned.text)
            if identifier.value not in base | in_prompt
            and identifier.value not in prompt.casefold()
        }
    wanted = {identifier.value for values in suspects.values() for identifier in values}
    if not wanted:
        return {}
    lines = _locate_ids(wanted, rows)
    leaked = {
        number: {value: lines[value.value] for value in values if value.value in lines}
        for number, values in suspects.items()
    }
    return {number: values for number, values in leaked.items() if values}


def _locate_ids(wanted: set[str], rows: Sequence[TrainingRow]) -> dict[str, int]:
    """Return the first line of each id that training rows have and that is not common in them.

    An id that is the whole answer of several rows is a label.
    """
    answers = Counter(normalize_text(row.answer) for row in rows)
    lines = _locate(
        wanted, rows, lambda row: {i.value for i in find_identifiers(f"{row.prompt}\n{row.answer}")}
    )
    return {value: line for value, line in lines.items() if answers[value] < MIN_COMMON_ROWS}


def _locate(
    wanted: set[_T], rows: Sequence[TrainingRow], read: Callable[[TrainingRow], Iterable[_T]]
) -> dict[_T, int]:
    """Return the first line of each part that ``read`` finds in rows, without those common in them."""
    first: dict[_T, int] = {}
    counts: Counter[_T] = Counter()
    for row in rows:
        parts = wanted.intersection(read(row))
        counts.update(parts)
        for part in parts:
            first.setdefault(part, row.line)
    most = max(MIN_COMMON_ROWS, COMMON_SHARE * len(rows))
    return {part: line for part, line in first.items() if counts[part] < most}


def _find_runs(pairs: Sequence[Pair], rows: Sequence[TrainingRow]) -> dict[int, tuple[str, int]]:
    """Return the longest verbatim run of answers, by position, with the line of its row."""
    asked = _collect_runs(text for pair in pairs for text in (pair.prompt, *pair.item.expected))
    base = _collect_runs(pair.base.text for pair in pairs)
    answers = [_split(pair.tuned.text) for pair in pairs]
    wanted = {run for words in answers for run in _list_runs(words)} - asked - base
    lines = _locate(wanted, rows, lambda row: _list_runs(_split(row.answer))) if wanted else {}
    common = _find_common_words(rows) if lines else set()
    longest: dict[int, tuple[str, int]] = {}
    for number, (pair, words) in enumerate(zip(pairs, answers, strict=True)):
        usual = common.union(_split(pair.prompt)) if lines else common
        spans = [
            (end - start, start, end)
            for start, end in _find_spans([run in lines for run in _list_runs(words)])
            if len(set(words[start:end]) - usual) >= MIN_OWN_WORDS
        ]
        if spans:
            _, start, end = max(spans)
            line = lines[tuple(words[start : start + RUN_WORDS])]
            longest[number] = " ".join(words[start:end]), line
    return longest


def _find_common_words(rows: Sequence[TrainingRow]) -> set[str]:
    counts = Counter(word for row in rows for word in set(_split(row.answer)))
    least = max(MIN_COMMON_ROWS, COMMON_WORD_SHARE * len(rows))
    return {word for word, count in counts.items() if count >= least}


def _find_spans(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield first word and end of each unbroken series of runs."""
    start = 0
    for end in range(len(flags) + 1):
        if end == len(flags) or not flags[end]:
            if end > start:
                yield start, end + RUN_WORDS - 1
            start = end + 1


def _collect_runs(texts: Iterable[str]) -> set[Run]:
    return {run for text in texts for run in _list_runs(_split(text))}


def _list_runs(words: Sequence[str]) -> list[Run]:
    return [tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)]


def _split(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
