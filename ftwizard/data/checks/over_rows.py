"""What is only seen over all rows: pairs that prefer length, labels out of balance, pictures or
a system prompt in some rows only.

Each class takes the rows one after another, and parts of a file that were taken apart are merged
in the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ftwizard.data.checks.found import SHOWN_LINES, FileFound
from ftwizard.data.checks.images import has_images
from ftwizard.data.checks.turns import listed, texts
from ftwizard.data.example import Example, Message
from ftwizard.data.targets import Target
from ftwizard.text import plural

MIN_PAIRS = 30
"""Below this many, a mean says little of the rest."""
STRONG_EFFECT = 0.5
"""Cohen's d: a medium effect (Cohen, Statistical Power Analysis, 1988, p. 26)."""
MIN_LABELS = 10
WORTH_A_WORD = 1.5
"""How many times as many labels of one kind are worth a warning: 6 for 5 is as even as data gets."""
MOST_DESIRABLE = 1.33
"""KTO wants between 1 and 4/3 wanted answers for each unwanted one, by number times weight
(https://huggingface.co/papers/2402.01306, equation 8; TRL's KTOTrainer warns by the same)."""

_VERDICTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Lines:
    """The first lines of however many."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[int] = []

    def add(self, line: int) -> None:
        """Take in a line; they come in rising order."""
        self.count += 1
        if len(self.first) < SHOWN_LINES:
            self.first.append(line)

    def merge(self, later: Lines, lines_before: int) -> None:
        """Take in those of a later part of the file, which begins after ``lines_before`` lines."""
        self.count += later.count
        room = SHOWN_LINES - len(self.first)
        self.first.extend(line + lines_before for line in later.first[:room])


class LengthBias:
    """Whether one side of the pairs is longer as a rule."""

    def __init__(self) -> None:
        self._pairs = 0
        # Whole numbers, so that the order of merging changes nothing.
        self._sums = [0, 0]
        self._squares = [0, 0]
        self._longer = (Lines(), Lines())

    def add(self, line: int, example: Example) -> None:
        """Take in a row; what is no pair does not count."""
        if example.kind != "preference":
            return
        lengths = (_length(listed(example.chosen)), _length(listed(example.rejected)))
        self._pairs += 1
        for side, length in enumerate(lengths):
            self._sums[side] += length
            self._squares[side] += length * length
        if lengths[0] != lengths[1]:
            self._longer[int(lengths[1] > lengths[0])].add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Take in rows of plain chat, which are no pairs."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Take in a later part of the file, which begins after ``lines_before`` lines."""
        self._pairs += later._pairs
        for side in (0, 1):
            self._sums[side] += later._sums[side]
            self._squares[side] += later._squares[side]
            self._longer[side].merge(later._longer[side], lines_before)

    def found(self, target: Target, rows: int) -> Iterator[FileFound]:
        """Yield what all rows together show."""
        if self._pairs < MIN_PAIRS:
            return
        means = [total / self._pairs for total in self._sums]
        effect = self._effect(means)
        if abs(effect) < STRONG_EFFECT:
            return
        side = 0 if effect > 0 else 1
        longer = self._longer[side]
        yield FileFound(
            code="length_bias",
            message=f"the {('chosen', 'rejected')[side]} answer is the longer one in "
            f"{longer.count:,} of {plural(self._pairs, 'pair')}: {means[0]:,.0f} characters chosen "
            f"and {means[1]:,.0f} rejected on average (Cohen's d {effect:+.2f})",
            fix="add pairs in which the better answer is the "
            f"{('shorter', 'longer')[side]} one: otherwise length itself is learnt",
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
    """Whether wanted and unwanted answers are in proportion."""

    def __init__(self) -> None:
        self._wanted = Lines()
        self._unwanted = Lines()

    def add(self, line: int, example: Example) -> None:
        """Take in a row; one without a label does not count."""
        if example.kind == "labelled" and example.label is not None:
            (self._wanted if example.label else self._unwanted).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Take in rows of plain chat, which have no labels."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Take in a later part of the file, which begins after ``lines_before`` lines."""
        self._wanted.merge(later._wanted, lines_before)
        self._unwanted.merge(later._unwanted, lines_before)

    def found(self, target: Target, rows: int) -> Iterator[FileFound]:
        """Yield what all rows together show."""
        wanted, unwanted = self._wanted.count, self._unwanted.count
        if not wanted and not unwanted:
            return
        if not wanted or not unwanted:
            only, other = ("true", "false") if wanted else ("false", "true")
            yield FileFound(
                code="label_one_sided",
                message=f"the label is {only} in all of {plural(wanted or unwanted, 'row')}",
                fix=f"add rows with the label {other}: the method compares the two",
                count=wanted or unwanted,
                lines=(self._wanted if wanted else self._unwanted).first,
            )
        elif wanted + unwanted >= MIN_LABELS and not self._is_balanced():
            fewer = min(self._wanted, self._unwanted, key=lambda lines: lines.count)
            yield FileFound(
                code="label_imbalance",
                message=f"{wanted:,} rows with the label true and {unwanted:,} with false",
                fix=f"set {self._weights()}, or even the rows out",
                count=fewer.count,
                lines=fewer.first,
            )

    def _is_balanced(self) -> bool:
        wanted, unwanted = self._wanted.count, self._unwanted.count
        if max(wanted, unwanted) <= WORTH_A_WORD * min(wanted, unwanted):
            return True
        return round(unwanted / wanted, 2) <= 1 <= round(MOST_DESIRABLE * unwanted / wanted, 2)

    def _weights(self) -> str:
        wanted, unwanted = self._wanted.count, self._unwanted.count
        if wanted > unwanted:
            low, high = wanted / unwanted / MOST_DESIRABLE, wanted / unwanted
            return f"undesirable_weight between {low:.2f} and {high:.2f}"
        low, high = unwanted / wanted, MOST_DESIRABLE * unwanted / wanted
        return f"desirable_weight between {low:.2f} and {high:.2f}"


class IgnoredLabel:
    """Whether rows that are read as chat say by a label that their answer is not wanted.

    A label of 0 and 1, or of the words for false and true. Where another value stands it counts
    classes, and says nothing of the answer.
    """

    def __init__(self) -> None:
        self._unwanted = Lines()
        self._is_class = False

    def add(self, line: int, example: Example) -> None:
        """Take in a row; what is no chat does not count."""
        if example.kind != "chat" or not isinstance(example.extra, dict):
            return
        label = example.extra.get("label")
        if label is None:
            return
        verdict = _verdict(label)
        if verdict is None:
            self._is_class = True
        elif not verdict:
            self._unwanted.add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Take in rows of plain chat, which have no label."""

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Take in a later part of the file, which begins after ``lines_before`` lines."""
        self._unwanted.merge(later._unwanted, lines_before)
        self._is_class = self._is_class or later._is_class

    def found(self, target: Target, rows: int) -> Iterator[FileFound]:
        """Yield what all rows together show."""
        if self._is_class or not self._unwanted.count:
            return
        have = "has" if self._unwanted.count == 1 else "have"
        yield FileFound(
            code="label_ignored",
            message=f"{self._unwanted.count:,} of {plural(rows, 'row')} {have} the label 0 or "
            "false, which is ignored: such answers are learnt like all others",
            fix="if it says that an answer is not wanted, write it as true or false (such rows are "
            "for KTO) or leave these rows out; if not, give it another name",
            count=self._unwanted.count,
            lines=self._unwanted.first,
        )


class ImageMix:
    """Whether all rows have pictures or none has, where that is asked for."""

    def __init__(self) -> None:
        self._with = Lines()
        self._without = Lines()

    def add(self, line: int, example: Example) -> None:
        """Take in a row."""
        (self._with if has_images(example) else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Take in rows of plain chat, which have no pictures; where they stand is not known."""
        self._without.count += len(systems)

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Take in a later part of the file, which begins after ``lines_before`` lines."""
        self._with.merge(later._with, lines_before)
        self._without.merge(later._without, lines_before)

    def found(self, target: Target, rows: int) -> Iterator[FileFound]:
        """Yield what all rows together show."""
        if target.images is None or not target.images.all_rows:
            return
        if not self._with.count or not self._without.count:
            return
        fewer = min(self._with, self._without, key=lambda lines: lines.count)
        which = "have a picture" if fewer is self._with else "have none"
        yield FileFound(
            code="image_mixed",
            message=f"{fewer.count:,} of {plural(rows, 'row')} {which}; {target.words} takes "
            "pictures in every row or in none",
            fix="make two files of them",
            count=fewer.count,
            lines=fewer.first,
        )


class SystemMix:
    """Whether all rows begin with a system prompt or none does."""

    def __init__(self) -> None:
        self._with = Lines()
        self._without = Lines()

    def add(self, line: int, example: Example) -> None:
        """Take in a row; what is no conversation does not count."""
        messages = listed(example.messages)
        if messages:
            has = messages[0].get("role") in ("system", "developer")
            (self._with if has else self._without).add(line)

    def add_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Take in rows of plain chat from ``line`` on: whether each has a system prompt."""
        for lines, wanted in ((self._with, True), (self._without, False)):
            lines.count += systems.count(wanted)
            if room := SHOWN_LINES - len(lines.first):
                places = [line + place for place, has in enumerate(systems) if has is wanted]
                lines.first.extend(places[:room])

    def merge(self, later: Self, lines_before: int = 0) -> None:
        """Take in a later part of the file, which begins after ``lines_before`` lines."""
        self._with.merge(later._with, lines_before)
        self._without.merge(later._without, lines_before)

    def found(self, target: Target, rows: int) -> Iterator[FileFound]:
        """Yield what all rows together show."""
        if not self._with.count or not self._without.count:
            return
        fewer = min(self._with, self._without, key=lambda lines: lines.count)
        have = "has" if fewer.count == 1 else "have"
        what = "a system prompt, the others do not"
        if fewer is self._without:
            what = "no system prompt, the others do"
        yield FileFound(
            code="mixed_system",
            message=f"{fewer.count:,} of {plural(rows, 'row')} {have} {what}",
            fix="let all rows begin as the model will be served: it learns to tell the two apart",
            count=fewer.count,
            lines=fewer.first,
        )


def _length(messages: list[Message]) -> int:
    return sum(len(text) for message in messages for text in texts(message))


def _verdict(label: Any) -> bool | None:
    """Return what a label says of an answer; None where it is no verdict."""
    if isinstance(label, str):
        return _VERDICTS.get(label.strip().lower())
    return bool(label) if isinstance(label, int | float) and label in (0, 1) else None
