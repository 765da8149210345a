"""Checks over all rows: length bias in pairs, label balance, images or a system prompt in some rows.

Each class takes rows one by one. Parts of a file are merged in file order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ftwizard.data.checks.images import has_images
from ftwizard.data.checks.turns import get_texts, list_messages
from ftwizard.data.example import Example, Message
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding, LineCounter
from ftwizard.data.platforms import Target
from ftwizard.text import format_count

MIN_PAIRS = 30
"""Fewer pairs say too little about the mean."""
STRONG_EFFECT = 0.5
"""Cohen's d: a medium effect (Cohen, Statistical Power Analysis, 1988, p. 26)."""
MIN_LABELS = 10
MAX_LABEL_RATIO = 1.5
"""Ratio of the more frequent label to the other above which a warning is due; 6 to 5 is fine."""
MAX_DESIRABLE_RATIO = 1.33
"""KTO needs 1 to 4/3 desirable answers per undesirable one, by count times weight
(https://huggingface.co/papers/2402.01306, equation 8; TRL's KTOTrainer warns by the same rule)."""

_VERDICTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class LengthBias:
    """Check for a systematic length difference between chosen and rejected answers."""

    def __init__(self) -> None:
        self._pairs = 0
        # Integers, so that the order of merging does not matter.
        self._sums = [0, 0]
        self._squares = [0, 0]
        self._longer = (LineCounter(), LineCounter())

    def add(self, line: int, example: Example) -> None:
        """Add a row; rows that are not pairs are ignored."""
        if example.kind != "preference":
            return
        lengths = (_length(list_messages(example.chosen)), _length(list_messages(example.rejected)))
        self._pairs += 1
        for side, length in enumerate(lengths):
            self._sums[side] += length
            self._squares[side] += length * length
        if lengths[0] != lengths[1]:
            self._longer[int(lengths[1] > lengths[0])].add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Ignore plain chat rows: they are not pairs."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        self._pairs += later._pairs
        for side in (0, 1):
            self._sums[side] += later._sums[side]
            self._squares[side] += later._squares[side]
            self._longer[side].merge(later._longer[side], lines_before)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        if self._pairs < MIN_PAIRS:
            return
        means = [total / self._pairs for total in self._sums]
        effect = self._effect(means)
        if abs(effect) < STRONG_EFFECT:
            return
        side = 0 if effect > 0 else 1
        longer = self._longer[side]
        yield FileFinding(
            code="length_bias",
            message=f"the {('chosen', 'rejected')[side]} answer is longer in "
            f"{longer.count:,} of {format_count(self._pairs, 'pair')}: on average {means[0]:,.0f} "
            f"characters chosen, {means[1]:,.0f} rejected (Cohen's d {effect:+.2f})",
            fix=f"add pairs whose better answer is {('shorter', 'longer')[side]}: otherwise the "
            "model learns length itself",
            count=longer.count,
            lines=longer.first,
        )

    def _effect(self, means: list[float]) -> float:
        variances = [
            square / self._pairs - mean * mean
            for square, mean in zip(self._squares, means, strict=True)
        ]
        deviation = math.sqrt(max(0.0, sum(variances) / 2))
        difference = means[0] - means[1]
        if deviation > 0:
            return difference / deviation
        return math.copysign(math.inf, difference) if difference else 0.0


class LabelBalance:
    """Check of the ratio of desirable to undesirable answers."""

    def __init__(self) -> None:
        self._desirable = LineCounter()
        self._undesirable = LineCounter()

    def add(self, line: int, example: Example) -> None:
        """Add a row; rows without a label are ignored."""
        if example.kind == "labelled" and example.label is not None:
            (self._desirable if example.label else self._undesirable).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Ignore plain chat rows: they have no labels."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        self._desirable.merge(later._desirable, lines_before)
        self._undesirable.merge(later._undesirable, lines_before)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        desirable, undesirable = self._desirable.count, self._undesirable.count
        if not desirable and not undesirable:
            return
        if not desirable or not undesirable:
            only, missing = ("true", "false") if desirable else ("false", "true")
            yield FileFinding(
                code="label_one_sided",
                message=f"the label is {only} in all {format_count(desirable or undesirable, 'row')}",
                fix=f"add rows with the label {missing}: KTO compares the two",
                count=desirable or undesirable,
                lines=(self._desirable if desirable else self._undesirable).first,
            )
        elif desirable + undesirable >= MIN_LABELS and not self._is_balanced():
            fewer = min(self._desirable, self._undesirable, key=lambda lines: lines.count)
            yield FileFinding(
                code="label_imbalance",
                message=f"{desirable:,} rows have the label true, {undesirable:,} have false",
                fix=f"set {self._suggest_weight()}, or balance the rows",
                count=fewer.count,
                lines=fewer.first,
            )

    def _is_balanced(self) -> bool:
        desirable, undesirable = self._desirable.count, self._undesirable.count
        if max(desirable, undesirable) <= MAX_LABEL_RATIO * min(desirable, undesirable):
            return True
        return (
            round(undesirable / desirable, 2)
            <= 1
            <= round(MAX_DESIRABLE_RATIO * undesirable / desirable, 2)
        )

    def _suggest_weight(self) -> str:
        desirable, undesirable = self._desirable.count, self._undesirable.count
        if desirable > undesirable:
            low, high = desirable / undesirable / MAX_DESIRABLE_RATIO, desirable / undesirable
            return f"undesirable_weight between {low:.2f} and {high:.2f}"
        low, high = undesirable / desirable, MAX_DESIRABLE_RATIO * undesirable / desirable
        return f"desirable_weight between {low:.2f} and {high:.2f}"


class IgnoredLabel:
    """Check for chat rows whose label says that the answer is undesirable.

    Such labels are 0 and 1, or false and true as text. Any other value means that the label is a
    class and says nothing about the answer.
    """

    def __init__(self) -> None:
        self._undesirable = LineCounter()
        self._is_class = False

    def add(self, line: int, example: Example) -> None:
        """Add a row; rows that are not chat are ignored."""
        if example.kind != "chat" or not isinstance(example.extra, dict):
            return
        label = example.extra.get("label")
        if label is None:
            return
        verdict = _verdict(label)
        if verdict is None:
            self._is_class = True
        elif not verdict:
            self._undesirable.add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Ignore plain chat rows: they have no label."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        self._undesirable.merge(later._undesirable, lines_before)
        self._is_class = self._is_class or later._is_class

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        if self._is_class or not self._undesirable.count:
            return
        have = "has" if self._undesirable.count == 1 else "have"
        yield FileFinding(
            code="label_ignored",
            message=f"{self._undesirable.count:,} of {format_count(rows, 'row')} {have} the label 0 or "
            "false, which is ignored: these answers are trained on like all others",
            fix="if it marks bad answers, write true or false (KTO) or remove these rows; if not, "
            "rename the field",
            count=self._undesirable.count,
            lines=self._undesirable.first,
        )


class ImageMix:
    """Check that all rows or none have images, for targets that require it."""

    def __init__(self) -> None:
        self._with = LineCounter()
        self._without = LineCounter()

    def add(self, line: int, example: Example) -> None:
        """Add a row."""
        (self._with if has_images(example) else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Count plain chat rows, which have no images; their lines are not recorded."""
        self._without.count += len(systems)

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        self._with.merge(later._with, lines_before)
        self._without.merge(later._without, lines_before)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        if target.images is None or not target.images.all_rows:
            return
        if not self._with.count or not self._without.count:
            return
        fewer = min(self._with, self._without, key=lambda lines: lines.count)
        which = "have an image" if fewer is self._with else "have none"
        yield FileFinding(
            code="image_mixed",
            message=f"{fewer.count:,} of {format_count(rows, 'row')} {which}; {target.words} needs "
            "images in every row or in none",
            fix="split them into two files",
            count=fewer.count,
            lines=fewer.first,
        )


class SystemMix:
    """Check that all rows or none start with a system prompt."""

    def __init__(self) -> None:
        self._with = LineCounter()
        self._without = LineCounter()

    def add(self, line: int, example: Example) -> None:
        """Add a row; rows that are not conversations are ignored."""
        messages = list_messages(example.messages)
        if messages:
            has = messages[0].get("role") in ("system", "developer")
            (self._with if has else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Add plain chat rows from ``line`` on; ``systems`` tells which have a system prompt."""
        for lines, has_system in ((self._with, True), (self._without, False)):
            lines.count += systems.count(has_system)
            if room := MAX_SHOWN_LINES - len(lines.first):
                matching = [line + n for n, has in enumerate(systems) if has is has_system]
                lines.first.extend(matching[:room])

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        self._with.merge(later._with, lines_before)
        self._without.merge(later._without, lines_before)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        if not self._with.count or not self._without.count:
            return
        fewer = min(self._with, self._without, key=lambda lines: lines.count)
        have = "has" if fewer.count == 1 else "have"
        which = "a system prompt, the others do not"
        if fewer is self._without:
            which = "no system prompt, the others do"
        yield FileFinding(
            code="mixed_system",
            message=f"{fewer.count:,} of {format_count(rows, 'row')} {have} {which}",
            fix="use the same system prompt in all rows as when the model is served",
            count=fewer.count,
            lines=fewer.first,
        )


def _length(messages: list[Message]) -> int:
    return sum(len(text) for message in messages for text in get_texts(message))


def _verdict(label: Any) -> bool | None:
    """Return whether a label says that an answer is good; None if it says neither."""
    if isinstance(label, str):
        return _VERDICTS.get(label.strip().lower())
    return bool(label) if isinstance(label, int | float) and label in (0, 1) else None
