"""Checks over all rows: length bias in pairs, label balance, images or a system prompt in some rows.

Each class takes rows one by one. Parts of a file are joined in file order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ftwizard.data.checks.images import has_images
from ftwizard.data.checks.turns import SYSTEM, get_texts
from ftwizard.data.example import Example, Message
from ftwizard.data.findings import FileFinding, LineCounter
from ftwizard.data.platforms import Target
from ftwizard.diagnosis.pair_lengths import judge_counts
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


class FileCheck:
    """A check over all rows; its attributes are numbers, Counters and LineCounters."""

    def add(self, line: int, example: Example) -> None:
        """Add a row; rows of other kinds are ignored."""
        raise NotImplementedError

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Add plain chat rows from ``line`` on; ``systems`` tells which have a system prompt.

        They have no pairs, labels or images.
        """

    def extend(self, later: Self, lines_before: int) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""
        for name, mine in list(vars(self).items()):
            theirs = getattr(later, name)
            if isinstance(mine, LineCounter):
                mine.extend(theirs.count, theirs.first, lines_before)
            else:
                setattr(self, name, mine + theirs)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        """Yield the findings over all rows."""
        raise NotImplementedError


class LengthBias(FileCheck):
    """Check for a systematic length difference between chosen and rejected answers."""

    def __init__(self) -> None:
        self._pairs = 0
        # By side: 0 is chosen. Integers, so that the order of adding does not matter.
        self._sums: Counter[int] = Counter()
        self._squares: Counter[int] = Counter()
        self._longer_chosen, self._longer_rejected = LineCounter(), LineCounter()

    def add(self, line: int, example: Example) -> None:
        if example.kind != "preference":
            return
        lengths = (_length(example.chosen), _length(example.rejected))
        self._pairs += 1
        for side, length in enumerate(lengths):
            self._sums[side] += length
            self._squares[side] += length * length
        if lengths[0] != lengths[1]:
            (self._longer_chosen if lengths[0] > lengths[1] else self._longer_rejected).add(line)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        if self._pairs < MIN_PAIRS:
            return
        means = [self._sums[side] / self._pairs for side in (0, 1)]
        effect = self._effect(means)
        counts = (self._longer_chosen.count, self._longer_rejected.count)
        rule = judge_counts(*counts, self._pairs - sum(counts))
        # A small difference that always has the same sign is as easy to learn as a large one.
        if abs(effect) < STRONG_EFFECT and not (rule and rule.is_telling):
            return
        is_longer = effect > 0 if abs(effect) >= STRONG_EFFECT else counts[0] > counts[1]
        side, other, longer = ("rejected", "longer", self._longer_rejected)
        if is_longer:
            side, other, longer = ("chosen", "shorter", self._longer_chosen)
        share = f"; length alone tells {rule.format_accuracy()} apart" if rule else ""
        yield longer.to_finding(
            "length_bias",
            f"the {side} answer is longer in {longer.count:,} of "
            f"{format_count(self._pairs, 'pair')}: on average {means[0]:,.0f} characters chosen, "
            f"{means[1]:,.0f} rejected (Cohen's d {effect:+.2f}{share})",
            f"add pairs whose better answer is {other}: otherwise the model learns length itself",
        )

    def _effect(self, means: list[float]) -> float:
        variances = (self._squares[side] / self._pairs - means[side] ** 2 for side in (0, 1))
        deviation = math.sqrt(max(0.0, sum(variances) / 2))
        difference = means[0] - means[1]
        if deviation > 0:
            return difference / deviation
        return math.copysign(math.inf, difference) if difference else 0.0


class _Mix(FileCheck):
    """A check of rows with and without a property."""

    def __init__(self) -> None:
        self._with, self._without = LineCounter(), LineCounter()

    def _find_fewer(self) -> LineCounter | None:
        """Return the lines of the rarer rows, or None if all rows are alike."""
        fewer = min(self._with, self._without, key=lambda lines: lines.count)
        return fewer if fewer.count else None


class LabelBalance(_Mix):
    """Check of the ratio of desirable to undesirable answers."""

    def add(self, line: int, example: Example) -> None:
        if example.kind == "labelled" and example.label is not None:
            (self._with if example.label else self._without).add(line)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        desirable, undesirable = self._with.count, self._without.count
        fewer = self._find_fewer()
        if fewer is None:
            lines, only, missing = (self._with, "true", "false")
            if undesirable:
                lines, only, missing = (self._without, "false", "true")
            if lines.count:
                yield lines.to_finding(
                    "label_one_sided",
                    f"the label is {only} in all {format_count(lines.count, 'row')}",
                    f"add rows with the label {missing}: KTO compares the two",
                )
        elif desirable + undesirable >= MIN_LABELS and not _is_balanced(desirable, undesirable):
            yield fewer.to_finding(
                "label_imbalance",
                f"{desirable:,} rows have the label true, {undesirable:,} have false",
                f"set {_suggest_weight(desirable, undesirable)}, or balance the rows",
            )


def _is_balanced(desirable: int, undesirable: int) -> bool:
    if max(desirable, undesirable) <= MAX_LABEL_RATIO * min(desirable, undesirable):
        return True
    ratio = undesirable / desirable
    return round(ratio, 2) <= 1 <= round(MAX_DESIRABLE_RATIO * ratio, 2)


def _suggest_weight(desirable: int, undesirable: int) -> str:
    if desirable > undesirable:
        low, high = desirable / undesirable / MAX_DESIRABLE_RATIO, desirable / undesirable
        return f"undesirable_weight between {low:.2f} and {high:.2f}"
    low, high = undesirable / desirable, MAX_DESIRABLE_RATIO * undesirable / desirable
    return f"desirable_weight between {low:.2f} and {high:.2f}"


class IgnoredLabel(FileCheck):
    """Check for chat rows whose label says that the answer is undesirable.

    Such labels are 0 and 1, or false and true as text. Any other value means that the label is a
    class and says nothing about the answer.
    """

    def __init__(self) -> None:
        self._undesirable = LineCounter()
        self._classes = 0

    def add(self, line: int, example: Example) -> None:
        if example.kind != "chat":
            return
        label = example.extra.get("label")
        if label is None:
            return
        verdict = _verdict(label)
        self._classes += verdict is None
        if verdict is False:
            self._undesirable.add(line)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        count = self._undesirable.count
        if self._classes or not count:
            return
        yield self._undesirable.to_finding(
            "label_ignored",
            f"{count:,} of {format_count(rows, 'row')} {'has' if count == 1 else 'have'} the label "
            "0 or false, which is ignored: these answers are trained on like all others",
            "if it marks bad answers, write true or false (KTO) or remove these rows; if not, "
            "rename the field",
        )


class ImageMix(_Mix):
    """Check that all rows or none have images, for targets that require it."""

    def add(self, line: int, example: Example) -> None:
        (self._with if has_images(example) else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        self._without.extend(len(systems), range(line, line + len(systems)))

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        if target.images is None or not target.images.all_rows:
            return
        if fewer := self._find_fewer():
            which = "have an image" if fewer is self._with else "have none"
            yield fewer.to_finding(
                "image_mixed",
                f"{fewer.count:,} of {format_count(rows, 'row')} {which}; {target.words} needs "
                "images in every row or in none",
                "split them into two files",
            )


class SystemMix(_Mix):
    """Check that all rows or none start with a system prompt."""

    def add(self, line: int, example: Example) -> None:
        if example.messages:
            has_system = example.messages[0]["role"] in SYSTEM
            (self._with if has_system else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        for lines, has_system in ((self._with, True), (self._without, False)):
            matching = (line + n for n, has in enumerate(systems) if has is has_system)
            lines.extend(systems.count(has_system), matching)

    def findings(self, target: Target, rows: int) -> Iterator[FileFinding]:
        if fewer := self._find_fewer():
            have = "has" if fewer.count == 1 else "have"
            which = "a system prompt, the others do not"
            if fewer is self._without:
                which = "no system prompt, the others do"
            yield fewer.to_finding(
                "mixed_system",
                f"{fewer.count:,} of {format_count(rows, 'row')} {have} {which}",
                "use one system prompt in all rows: the one that you will serve the model with",
            )


def _length(messages: list[Message]) -> int:
    return sum(len(text) for message in messages for text in get_texts(message))


def _verdict(label: Any) -> bool | None:
    """Return whether a label says that an answer is good; None if it says neither."""
    if isinstance(label, str):
        return _VERDICTS.get(label.strip().lower())
    return bool(label) if isinstance(label, int | float) and label in (0, 1) else None


FILE_FAMILIES = (LengthBias, LabelBalance, IgnoredLabel, ImageMix, SystemMix)
