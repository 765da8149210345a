"""The document of an evaluation: sets × models, what changed, the five failures, and the verdict."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ftwizard.plan.schema import Gate
from ftwizard.rewards.recognized_answers import RecognizedAnswers
from ftwizard.runs.paired_tests import ALPHA, PairedTest
from ftwizard.runs.verdict import RewardSpan, ShipVerdict, Verdict

Rival = Literal["base", "prompted", "parent"]
"""What a gain of the tuned model is measured from. ``prompted``: the base model with the user's system prompt
and examples from the training set; ``parent``: the weights of an earlier run that this one started from."""
SWEEP = (0.25, 0.5, 0.75, 1.0)
"""Strengths of the adapter that ``ftwizard eval --sweep`` judges."""
FailureName = Literal["forgetting", "overfitting", "memorization", "mode_collapse", "safety"]
Needs = Literal["items", "data", ""]
ReasonName = Literal[
    "failure", "failure_open", "loss", "loss_unproven", "no_loss", "prompt_suffices", "small_gain",
    "small_gain_unproven", "gain_unproven", "target", "over_prompted", "over_parent", "few_items", "few_rows",
    "identical", "style_only", "by_hand", "unscored", "not_measured", "not_compared", "contaminated", "by_length",
]  # fmt: skip
"""``failure_open``: what would show the failure was measured, on too few items to exclude it; ``loss``: a set of
the user's own lost more than the gate tolerates; ``loss_unproven``: measured, but chance can explain it;
``no_loss``: a loss beyond the gate is excluded; ``prompt_suffices``: the tuned model is worse than the
prompted one, or its gain over it is below the gate, and chance is excluded; ``small_gain``: the gain is below
the gate, and chance is excluded; ``small_gain_unproven``: measured, but chance can explain it;
``gain_unproven``: no gain is shown, and none excluded; ``target``: whether training helped;
``over_prompted``: whether it helped more than a prompt; ``over_parent``: whether it is better than the run
that it started from; ``few_items``: own sets too small to exclude a loss; ``few_rows``: fewer test rows than
any verdict rests on; ``identical``: both models gave the same answers; ``style_only``: only how far the
answers resemble the expected ones was measured; ``by_hand``: the person compared answers without knowing
whose they are; ``unscored``: too many answers could not be scored; ``not_measured``: sets without answers;
``not_compared``: there is no answer of the base model;
``contaminated``: test items that the training set has, too; ``by_length``: the length of the answers
alone tells the pairs apart."""


AnswerClass = Literal["refuses", "answers", "neither"]
"""``neither``: off topic, the same phrase to every prompt, or the format of the task."""


class ItemScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The score of one answer."""

    value: float | None = None
    """0–1, but for rewards, which may be outside; None: it could not be scored, and is neither right
    nor wrong."""
    passed: bool | None = None
    """Whether it is right; None for graded scores, and for answers that could not be scored."""
    note: str = ""
    """Why it could not be scored."""
    answer_class: AnswerClass | None = None
    """Only of the scorers ``refusal`` and ``answered``."""


class ItemAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of one model to one item: a line of ``eval/<arm>.jsonl``."""

    item: str
    """Id of the item."""
    text: str
    ended: bool = True
    """Whether it ended by itself, not at the limit of tokens."""
    is_late: bool = False
    """Whether it took too long, so that there is none."""
    tokens: int = 0
    loss: float | None = None
    """Mean negative log-likelihood per token of the expected answer, in nats; local models only."""
    loss_tokens: int = 0
    logps: list[float] = []
    """Log-probabilities, in nats, of both answers of a pair, the chosen one first, or of a labeled
    answer; local models only."""
    logp_tokens: list[int] = []
    """Tokens of these answers."""
    score: ItemScore | None = None
    """None until it is scored."""

    @property
    def value(self) -> float | None:
        """Return its score; None without one, or if it could not be scored."""
        return self.score.value if self.score else None


class ArmScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The score of one model on one set."""

    score: float
    """Mean over the scored items, 0–1."""
    low: float
    high: float
    """The ends of its 95% interval."""
    metric: str
    n: int
    """Scored items."""
    unscored: int = 0
    loss: float | None = None
    """Mean negative log-likelihood per token of the expected answers, in nats."""


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The paired change from one model to another on one set."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided p-value of no change."""
    n: int
    """Items that both models have a score for."""

    @classmethod
    def from_test(cls, test: PairedTest, n: int) -> PairedDifference:
        return cls(value=test.change, low=test.low, high=test.high, p=test.p, n=n)

    @property
    def is_shown(self) -> bool:
        """Return whether chance is excluded as the cause."""
        return self.p < ALPHA and not self.low <= 0 <= self.high


class NearRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A training row near to an answer, by word n-grams in common with it and its prompt."""

    line: int
    share: float
    """Share of their n-grams that the row contains, 0–1."""
    text: str


class Flip(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item that only one of two models has right, or whose graded score changed much."""

    item: str
    prompt: str
    expected: str
    base: str
    tuned: str
    change: float
    """Score of the tuned model minus that of the base model, −1 to 1."""
    line: int | None = None
    """Line of the item in its file."""
    category: str = ""
    rejected: str = ""
    """The rejected answer of a pair, whose chosen one is ``expected``: ``base`` and ``tuned`` are then
    the ones that the models find more probable."""
    rewards: list[float] = []
    """Rewards of both answers, the base model's first, where rewards score them."""
    near: list[NearRow] = []
    """Training rows near to the prompt and the tuned model's answer, the nearest first."""


class SetResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scores of all models on one set."""

    n: int
    arms: dict[str, ArmScore]
    """By the name of the arm; ``base``, ``prompted`` and ``tuned`` in a run."""
    difference: PairedDifference | None = None
    """From base to tuned model."""
    over_prompted: PairedDifference | None = None
    """From prompted to tuned model."""
    over_parent: PairedDifference | None = None
    """From the parent to the tuned model."""
    loss_difference: PairedDifference | None = None
    """From base to tuned model, of the losses in nats per token: below 0 is better."""
    provable: float | None = None
    """Smallest net change that this many items can show, 0–1; None if they can show none."""
    is_identical: bool = False
    """Whether base and tuned model gave the same answer to every item."""
    span: RewardSpan | None = None
    """Rewards that the scores are shares of, where they are not within 0–1."""
    fixed: list[Flip] = []
    broken: list[Flip] = []
    """Worst first."""


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to change, as something that a key or a command does."""

    kind: Literal[
        "checkpoint", "scale", "drop_rows", "mix", "epochs", "more_items", "prompt", "by_hand", "scorer", "judge",
    ]  # fmt: skip
    step: int | None = None
    """For ``checkpoint``: the one to use instead."""
    value: float | None = None
    """For ``mix`` and ``epochs``; for ``more_items`` how many the set needs in all."""
    lines: list[int] = []
    """For ``drop_rows``: lines of the training file."""
    set: str = ""
    """For ``more_items``."""
    by_hand: bool = False
    """Whether no command does it: a run that trains at a platform has no child runs."""
    needs_deployment: bool = False
    """For ``checkpoint``: whether it answers only once it is deployed."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the five failures, with its evidence."""

    name: FailureName
    found: bool | None
    """None: cannot tell."""
    needs: Needs = ""
    """What is missing where it cannot be told: more items, or what it is judged by at all."""
    evidence: dict[str, Any] = {}
    """Measured values by name, in the order to show them. ``describe_evaluation`` renders
    them."""
    examples: list[Flip] = []
    """Answers that show it, worst first."""
    actions: list[Action] = []
    """What to change, best first, where the evidence says more than the name of the failure: the
    ``checkpoint`` before it, the rows to drop."""


class VerdictReason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reason of the verdict: facts, which ``describe_evaluation`` renders."""

    name: ReasonName
    sets: list[str] = []
    failure: FailureName | None = None
    rival: Rival = "base"
    """For a gain: the model that it is measured from."""


class LengthShortcut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Pairs that the length of their answers alone tells apart, and what the tuned model does with the others."""

    winner: Literal["longer", "shorter"]
    accuracy: float
    """Share of the pairs in which this answer is the chosen one, 0–1."""
    low: float
    high: float
    """The ends of its 95% interval."""
    pairs: int
    part: Literal["training", "test"]
    """Which pairs these are."""
    exceptions: int = 0
    """Test pairs that length tells wrongly, or not."""
    right: int = 0
    """Exceptions in which the tuned model prefers the chosen answer."""

    @property
    def is_open(self) -> bool:
        """Return whether the tuned model may have learned length alone."""
        return 2 * self.right <= self.exceptions


class HandComparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person found in pairs of answers, without knowing which model gave which."""

    better: int
    """Pairs whose better answer is the tuned model's."""
    worse: int
    equal: int = 0
    both_wrong: int = 0
    skipped: int = 0
    identical: int = 0
    """Test items with the same answer of both models, which are not asked."""
    outcome: Literal["better", "worse", "open"]
    """``open``: the pairs do not decide it."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``eval/evaluation.json``."""

    verdict: ShipVerdict
    reasons: list[VerdictReason] = []
    """Why, most important first; three are shown."""
    target: Verdict | None = None
    """Whether training helped on the target set, compared with the base model."""
    over_prompted: Verdict | None = None
    """The same, compared with the prompted model."""
    over_parent: Verdict | None = None
    """The same, compared with the run that this one started from."""
    sets: dict[str, SetResult] = {}
    """``target``, ``general``, ``safety``, and the names of the user's own sets."""
    samples: list[Flip] = []
    """Answers to the first test rows, as many as the plan asks for, whether they changed or not."""
    failures: list[Failure] = []
    gate: Gate | None = None
    actions: list[Action] = []
    """What to change, best first."""
    shortcut: LengthShortcut | None = None
    """Where the length of answers alone tells the pairs apart."""
    by_hand: HandComparison | None = None
    answers: RecognizedAnswers | None = None
    """How the answers of the target set were compared; None without test rows."""
    scorer_changed: bool = False
    """Whether that was changed after training, when the answers were known."""
    parent: str = ""
    """Id of the run whose weights it started from; empty without."""

    @property
    def unjudged(self) -> list[FailureName]:
        """Return the failures that nothing here can show: what they are judged by was not measured."""
        return [f.name for f in self.failures if f.found is None and f.needs == "data"]
