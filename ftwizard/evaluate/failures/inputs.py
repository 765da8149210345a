"""What the failures are judged by: answers of base and tuned model, training rows, losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from ftwizard.data.dedup.canonical_text import messages_text
from ftwizard.data.example import Message, get_text
from ftwizard.data.reader import ParsedRow
from ftwizard.diagnosis.curve import Curve
from ftwizard.evaluate.items import Item
from ftwizard.plan.schema import Gate
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import Flip, ItemAnswer, Needs, PairedDifference
from ftwizard.runs.paired_tests import PairedTest
from ftwizard.runs.ship_verdict import MIN_ROWS, judge_loss

TARGET, GENERAL, SAFETY = "target", "general", "safety"
TRAIN = "train"
"""Set of items made from a sample of the training rows: what was learned, next to what carries over."""
MAX_EXAMPLES = 5
MIN_RIGHT = 8
"""Right answers of the base model without which there is too little to lose."""


class TrainingRow(NamedTuple):
    """A row that was trained on, as text."""

    line: int
    """In the training file; negative for a general row that was mixed in, which is in another file."""
    prompt: str
    answer: str


class TextLoss(NamedTuple):
    """Loss of both models on one general text, in nats per token."""

    base: float
    tuned: float
    tokens: int


class Pair(NamedTuple):
    """An item with the answers of both models."""

    item: Item
    base: ItemAnswer
    tuned: ItemAnswer

    @property
    def prompt(self) -> str:
        """Return all text of the prompt, with system prompt and earlier turns."""
        return join_messages(self.item.messages)

    @property
    def is_scored(self) -> bool:
        """Return whether both answers have a score."""
        scores = (self.base.score, self.tuned.score)
        return all(score is not None and score.value is not None for score in scores)

    @property
    def change(self) -> float:
        """Return the score of the tuned model minus that of the base model; 0 without scores."""
        base, tuned = self.base.score, self.tuned.score
        if base is None or tuned is None or base.value is None or tuned.value is None:
            return 0.0
        return tuned.value - base.value


@dataclass(frozen=True, kw_only=True)
class FailureInputs:
    """All that is known about a tuned model; what is missing is left out."""

    items: Sequence[Item]
    base: Mapping[str, ItemAnswer]
    """By id of the item; an item that one model did not answer is not judged."""
    tuned: Mapping[str, ItemAnswer]
    rows: Sequence[TrainingRow] = ()
    text_losses: Sequence[TextLoss] = ()
    """On general texts that neither model was tuned on."""
    gate: Gate = field(default_factory=Gate)
    """The limits of what may be lost."""
    curve: Curve | None = None
    step: int | None = None
    """Step of the tuned weights; None: the last one."""
    _pairs: dict[str, list[Pair]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for item in self.items:
            base, tuned = self.base.get(item.id), self.tuned.get(item.id)
            if base is not None and tuned is not None:
                self._pairs.setdefault(item.set, []).append(Pair(item, base, tuned))

    @property
    def sets(self) -> list[str]:
        """Return the names of the sets with answers."""
        return list(self._pairs)

    def pairs(self, name: str) -> list[Pair]:
        """Return the items of a set that both models answered."""
        return self._pairs.get(name, [])

    @property
    def evaluated(self) -> list[Pair]:
        """Return the pairs of all sets except the sample of training rows."""
        return [pair for name in self.sets if name != TRAIN for pair in self._pairs[name]]


def to_training_rows(
    rows: Iterable[ParsedRow], mixed: Iterable[ParsedRow] = ()
) -> list[TrainingRow]:
    """Return rows as text; plain text counts as an answer, and rows of tokens are left out.

    ``mixed``: general rows that were mixed in.
    """
    lines = [*((row.line, row) for row in rows), *((-row.line, row) for row in mixed)]
    texts = (
        TrainingRow(line, messages_text(row.conversation.prompt), row.conversation.answer)
        if row.conversation.messages
        else TrainingRow(line, "", row.example.text or "")
        for line, row in lines
    )
    return [row for row in texts if row.answer]


def join_messages(messages: Iterable[Message]) -> str:
    """Return the text of messages, system prompts included."""
    return "\n".join(filter(None, map(get_text, messages)))


def judge_scores(
    pairs: Sequence[Pair],
    limit: float,
    evidence: dict[str, Any],
    prefix: str = "",
    *,
    strictness: float = 1.0,
) -> tuple[bool | None, Needs]:
    """Return whether the scores fell by more than ``limit``, and what is missing if it is open.

    Where the base model has hardly anything right, no number of items shows what was lost. Evidence, with ``prefix``: ``base`` and ``tuned`` (shares), ``change`` with ``low``, ``high`` and ``p``.
    """
    test = compare_scores(pairs)
    if test is None:
        return None, "data"
    means = {name: compute_mean(pairs, name) for name in ("base", "tuned")}
    values = means | test._asdict()
    evidence |= {f"{prefix}{key}": value for key, value in values.items()}
    change = PairedDifference.from_test(test, len(pairs))
    is_lost = judge_loss(change, limit, had=_bound_base(pairs), strictness=strictness)
    if is_lost:
        return True, ""
    is_scarce = len(pairs) >= MIN_ROWS and means["base"] * len(pairs) < MIN_RIGHT
    if is_scarce and not (change.is_shown and change.value < 0):
        return None, "data"
    return is_lost, "items" if is_lost is None else ""


def compare_scores(pairs: Sequence[Pair]) -> PairedTest | None:
    """Test the change of the scores from base to tuned model; None without scored items.

    Exact McNemar if every answer is right or wrong, else a paired bootstrap over the items.
    """
    scored = [pair for pair in pairs if pair.is_scored]
    if not scored:
        return None
    changes = [pair.change for pair in scored]
    if set(changes) <= {-1.0, 0.0, 1.0}:
        return paired_tests.compare_outcomes(changes.count(1.0), changes.count(-1.0), len(scored))
    return paired_tests.compare_means([0.0] * len(scored), changes)


def round_scores(pairs: Sequence[Pair]) -> list[Pair]:
    """Return scored pairs, with scores of 0 and 1 if each answer is either right or wrong.

    The table of sets counts them so: half of the JSON fields are no half right answer.
    """
    answers = [answer for pair in pairs for answer in (pair.base, pair.tuned)]
    if any(answer.score is None or answer.score.passed is None for answer in answers):
        return list(pairs)
    return [Pair(pair.item, _round(pair.base), _round(pair.tuned)) for pair in pairs]


def _round(answer: ItemAnswer) -> ItemAnswer:
    assert answer.score
    return replace(answer, score=replace(answer.score, value=float(bool(answer.score.passed))))


def _bound_base(pairs: Sequence[Pair]) -> float:
    """Return what the base model may have right at most, and so lose."""
    scores = [pair.base.score.value or 0.0 for pair in pairs if pair.base.score]
    is_binary = set(scores) <= {0.0, 1.0}
    bounds = (
        paired_tests.bound_share(int(sum(scores)), len(scores))
        if is_binary
        else paired_tests.bound_mean(scores)
    )
    return bounds.high


def compute_mean(pairs: Sequence[Pair], model: str) -> float:
    """Return the mean score of a model over scored items."""
    scores = [getattr(pair, model).score.value for pair in pairs]
    return float(sum(scores) / len(scores))


def to_flip(pair: Pair, change: float | None = None) -> Flip:
    """Return an item with both answers, as an example of a failure."""
    return Flip(
        item=pair.item.id,
        prompt=get_text(pair.item.messages[-1]) if pair.item.messages else "",
        expected=pair.item.expected[0] if pair.item.expected else "",
        base=pair.base.text,
        tuned=pair.tuned.text,
        change=pair.change if change is None else change,
        line=pair.item.line,
        category=pair.item.category,
    )


def list_broken(pairs: Iterable[Pair]) -> list[Flip]:
    """Return the items whose score fell most, worst first."""
    fallen = sorted((pair for pair in pairs if pair.change < 0), key=lambda pair: pair.change)
    return [to_flip(pair) for pair in fallen[:MAX_EXAMPLES]]
