"""What the failures are judged by: answers of base and tuned model, training rows, losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from msgspec.structs import replace

from ftwizard.data.dedup.canonical_text import messages_text
from ftwizard.data.example import Message, get_text
from ftwizard.data.reader import ParsedRow
from ftwizard.diagnosis.curve import Curve
from ftwizard.evaluate import preference_items, reward_scores
from ftwizard.evaluate.items import Item
from ftwizard.plan.schema import Gate
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import Flip, ItemAnswer, Needs, PairedDifference
from ftwizard.runs.paired_tests import PairedTest
from ftwizard.runs.ship_verdict import MIN_ROWS, judge_loss
from ftwizard.runs.verdict import RewardSpan

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
    """An item with the answers of two models."""

    item: Item
    base: ItemAnswer
    """Of the model that the tuned one is compared with."""
    tuned: ItemAnswer

    @property
    def prompt(self) -> str:
        """Return all text of the prompt, with system prompt and earlier turns."""
        return join_messages(self.item.messages)

    @property
    def is_scored(self) -> bool:
        """Return whether both answers have a score."""
        return self.base.value is not None and self.tuned.value is not None

    @property
    def change(self) -> float:
        """Return the score of the tuned model minus that of the base model; 0 without scores."""
        base, tuned = self.base.value, self.tuned.value
        return 0.0 if base is None or tuned is None else tuned - base


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

    @cached_property
    def _pairs(self) -> list[Pair]:
        return pair_answers(self.items, self.base, self.tuned)

    @property
    def sets(self) -> list[str]:
        """Return the names of the sets with answers."""
        return list(dict.fromkeys(pair.item.set for pair in self._pairs))

    def pairs(self, name: str) -> list[Pair]:
        """Return the items of a set that both models answered."""
        return [pair for pair in self._pairs if pair.item.set == name]

    @property
    def evaluated(self) -> list[Pair]:
        """Return the pairs of all sets except the sample of training rows."""
        return [pair for pair in self._pairs if pair.item.set != TRAIN]


def pair_answers(
    items: Iterable[Item], base: Mapping[str, ItemAnswer], tuned: Mapping[str, ItemAnswer]
) -> list[Pair]:
    """Return the items that both models answered."""
    ids = base.keys() & tuned.keys()
    return [Pair(item, base[item.id], tuned[item.id]) for item in items if item.id in ids]


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
    pairs = [pair for pair in pairs if pair.is_scored]
    if not pairs:
        return None, "data"
    test = compare_pairs(pairs)
    means = {name: compute_mean(pairs, name) for name in ("base", "tuned")}
    values = means | test._asdict()
    evidence |= {f"{prefix}{key}": value for key, value in values.items()}
    change = PairedDifference.from_test(test, len(pairs))
    most = paired_tests.bound_scores(list_scores(pairs, "base")).high
    is_lost = judge_loss(change, limit, had=most, strictness=strictness)
    if is_lost:
        return True, ""
    is_scarce = len(pairs) >= MIN_ROWS and means["base"] * len(pairs) < MIN_RIGHT
    if is_scarce and not (change.is_shown and change.value < 0):
        return None, "data"
    return is_lost, "items" if is_lost is None else ""


def compare_pairs(pairs: Sequence[Pair]) -> PairedTest:
    """Test the change of the scores of at least one scored pair."""
    return paired_tests.compare_scores(list_scores(pairs, "base"), list_scores(pairs, "tuned"))


def list_scores(pairs: Sequence[Pair], model: str) -> list[float]:
    """Return the scores of one model in scored pairs."""
    return [getattr(pair, model).value for pair in pairs]


def round_scores(pairs: Sequence[Pair]) -> list[Pair]:
    """Return scored pairs, with scores of 0 and 1 if each answer is either right or wrong.

    The table of sets counts them so: half of the JSON fields are no half right answer.
    """
    answers = [answer for pair in pairs for answer in (pair.base, pair.tuned)]
    if any(answer.score is None or answer.score.passed is None for answer in answers):
        return list(pairs)
    return [Pair(pair.item, round_score(pair.base), round_score(pair.tuned)) for pair in pairs]


def round_score(answer: ItemAnswer) -> ItemAnswer:
    """Return an answer that is right or wrong with a score of 1 or 0."""
    if answer.score is None or answer.score.passed is None:
        return answer
    return replace(answer, score=replace(answer.score, value=float(answer.score.passed)))


def compute_mean(pairs: Sequence[Pair], model: str) -> float:
    """Return the mean score of a model over scored items."""
    scores = list_scores(pairs, model)
    return sum(scores) / len(scores)


def to_flip(pair: Pair, span: RewardSpan | None = None) -> Flip:
    """Return an item with both answers; of a pair of preference, those found more probable.

    ``span``: rewards that scores by rewards are shares of.
    """
    item, *answers = pair
    rewards = [reward_scores.get_reward(item, answer, span) for answer in answers]
    return Flip(
        item=item.id,
        prompt=get_text(item.messages[-1]) if item.messages else "",
        expected=item.expected[0] if item.expected else "",
        base=preference_items.read_answer(item, pair.base),
        tuned=preference_items.read_answer(item, pair.tuned),
        change=pair.change,
        line=item.line,
        category=item.category,
        rejected=preference_items.get_rejected(item),
        rewards=[reward for reward in rewards if reward is not None],
    )


def list_broken(pairs: Iterable[Pair]) -> list[Flip]:
    """Return the items whose score fell most, worst first."""
    fallen = sorted((pair for pair in pairs if pair.change < 0), key=lambda pair: pair.change)
    return [to_flip(pair) for pair in fallen[:MAX_EXAMPLES]]
