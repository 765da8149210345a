"""Blind pairs: answers of base and tuned model that a person compares, and the test that decides."""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, append, read_end, read_json, write_json
from ftwizard.runs.conversation import ChatRow
from ftwizard.runs.evaluation import Evaluation, HandComparison, ItemAnswer
from ftwizard.runs.evaluation_files import NewestEvaluation
from ftwizard.runs.evaluation_job import EvaluationResult
from ftwizard.runs.paired_tests import ALPHA, MIN_DIFFERING
from ftwizard.runs.ship_verdict import judge_again
from ftwizard.text import format_count

FILE = "by-hand.jsonl"
MAX_PAIRS = 30
SHAPE = 0.3
"""Growth of the boundary with the judgments: 0.5 decides earlier, but misses more in all 30."""
Side = Literal["base", "tuned"]
Choice = Literal["a", "b", "equal", "both_wrong", "skip", "undo"]
KEYS: dict[str, Choice] = {
    "a": "a", "b": "b", "e": "equal", "n": "both_wrong", "s": "skip", "u": "undo",
}  # fmt: skip
_SIDES: tuple[Side, Side] = ("base", "tuned")
_T = TypeVar("_T", bound=msgspec.Struct)


class BlindPair(NamedTuple):
    """A prompt with the answers of both models."""

    item: ChatRow
    answers: dict[Side, ItemAnswer]
    digest: str
    """Hash of prompt and answers: it orders the pairs, and chooses which answer is A."""

    @property
    def side_of_a(self) -> Side:
        return "tuned" if int(self.digest, 16) % 2 else "base"

    @property
    def texts(self) -> tuple[str, str]:
        """Return the answers A and B."""
        base, tuned = (_show(self.answers[side]) for side in _SIDES)
        return (base, tuned) if self.side_of_a == "base" else (tuned, base)

    @property
    def question(self) -> str:
        """Return the text of the prompt; of several messages, each with its role."""
        texts = [(str(message.get("role")), _read_text(message)) for message in self.item.messages]
        if len(texts) == 1:
            return texts[0][1]
        return "\n".join(f"{role}: {text}" for role, text in texts)


def _read_text(message: dict[str, Any]) -> str:
    content = message.get("content") or message.get("tool_calls") or ""
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


class PairJudgment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``eval/by-hand.jsonl``; the last one of an item counts."""

    item: str
    answers: str
    """``BlindPair.digest``: a judgment of other answers is void."""
    choice: Choice
    a: Side
    """Which model's answer was A."""

    @property
    def preferred(self) -> Side | None:
        """Return the model whose answer is better; None without a preference."""
        if self.choice not in ("a", "b"):
            return None
        return self.a if self.choice == "a" else _get_other(self.a)


def _get_other(side: Side) -> Side:
    return "base" if side == "tuned" else "tuned"


class BlindPairs:
    """The pairs of an evaluation, and what was judged so far."""

    def __init__(
        self, pairs: Sequence[BlindPair], identical: int = 0, judged: Iterable[PairJudgment] = ()
    ) -> None:
        """``identical``: items with the same answer of both models, which are not asked."""
        self.pairs = {pair.item.id: pair for pair in pairs}
        self.identical = identical
        self.judged: dict[str, PairJudgment] = {}
        """By item, in the order in which they were judged."""
        for judgment in judged:
            self._take(judgment)

    def _take(self, judgment: PairJudgment) -> None:
        pair = self.pairs.get(judgment.item)
        if pair is None or pair.digest != judgment.answers:
            return
        self.judged.pop(judgment.item, None)
        if judgment.choice != "undo":
            self.judged[judgment.item] = judgment

    def judge(self, item: str, choice: Choice) -> PairJudgment:
        """Judge a pair; return the line to keep. Raises FtwizardError if there is no such pair."""
        pair = self.pairs.get(item)
        if pair is None:
            raise FtwizardError(f"There is no pair of item “{item[:40]}”.", "See the items: --json")
        judgment = PairJudgment(item=item, answers=pair.digest, choice=choice, a=pair.side_of_a)
        self._take(judgment)
        return judgment

    @property
    def next(self) -> BlindPair | None:
        """Return the pair to judge; None once the test is decided, or cannot be by the rest."""
        rest = [pair for item, pair in self.pairs.items() if item not in self.judged]
        is_open = rest and self._find_outcome() == "open" and self._can_decide(len(rest))
        return rest[0] if is_open else None

    @property
    def can_decide(self) -> bool:
        """Return whether there are enough pairs for any outcome."""
        return len(self.pairs) >= MIN_DIFFERING

    @property
    def last(self) -> str | None:
        """Return the item that was judged last."""
        return next(reversed(self.judged), None)

    def compare(self) -> HandComparison | None:
        """Return what the pairs say; None while there is one to judge, and without any judgment."""
        if not self.judged or self.next:
            return None
        counts = Counter(judgment.choice for judgment in self.judged.values())
        preferred = Counter(self._list_preferred())
        return HandComparison(
            better=preferred["tuned"],
            worse=preferred["base"],
            equal=counts["equal"],
            both_wrong=counts["both_wrong"],
            skipped=counts["skip"],
            identical=self.identical,
            outcome=self._find_outcome(),
        )

    def _list_preferred(self) -> list[Side]:
        """Return the model preferred in each pair with a preference, in the order of the pairs."""
        judged = (self.judged[item] for item in self.pairs if item in self.judged)
        return [side for judgment in judged if (side := judgment.preferred)]

    def _find_outcome(self) -> Literal["better", "worse", "open"]:
        lead = 0
        for side, limit in zip(
            self._list_preferred(), find_boundary(len(self.pairs)), strict=False
        ):
            lead += 1 if side == "tuned" else -1
            if abs(lead) >= limit:
                return "better" if lead > 0 else "worse"
        return "open"

    def _can_decide(self, rest: int) -> bool:
        preferred = self._list_preferred()
        lead = abs(2 * preferred.count("tuned") - len(preferred))
        following = find_boundary(len(self.pairs))[len(preferred) :][:rest]
        return any(lead + more >= limit for more, limit in enumerate(following, 1))


@functools.cache
def find_boundary(most: int) -> tuple[int, ...]:
    """Return the lead that decides after 1, 2, … ``most`` preferences, looking after each of them.

    Models that are equally good are called decided in 5% of the cases at most, in either direction,
    counted over all paths. The limit grows with the power ``SHAPE`` of the count (Wang and Tsiatis,
    Biometrics 43, 1987). Of 30, it decides 9 of 9, 13 of 15, 16 of 20 and 22 of 30; where there are
    only 15 pairs, 12 of 15; never with fewer than 6. How often it decides rightly:

    | pairs | true share of preferences 0.7 | 0.8 | 0.9 |
    |---|---|---|---|
    | 10 | 20% | 44% | 78% |
    | 15 | 33% | 67% | 95% |
    | 20 | 37% | 74% | 98% |
    | 30 | 54% | 91% | 99% |
    """
    counts = range(1, most + 1)
    scales = sorted({lead / count**SHAPE for count in counts for lead in range(1, count + 1)})

    def draw(scale: float) -> tuple[int, ...]:
        return tuple(math.ceil(scale * count**SHAPE - 1e-9) for count in counts)

    scales.append(most + 1)  # which nothing reaches
    first = bisect.bisect_left(
        scales, True, key=lambda scale: measure_decided(draw(scale)) <= ALPHA
    )
    return draw(scales[first])


def measure_decided(boundary: Sequence[int], share: float = 0.5) -> float:
    """Return how often a boundary decides, exactly, where each preference has this chance."""
    leads, decided = {0: 1.0}, 0.0
    for limit in boundary:
        following = defaultdict[int, float](float)
        for lead, weight in leads.items():
            following[lead + 1] += weight * share
            following[lead - 1] += weight * (1 - share)
        decided += sum(weight for lead, weight in following.items() if abs(lead) >= limit)
        leads = {lead: weight for lead, weight in following.items() if abs(lead) < limit}
    return decided


def read(folder: JobFolder) -> BlindPairs:
    """Read the pairs of an evaluation's folder, and what was judged of them.

    These are target items; up to ``MAX_PAIRS`` of those whose answers differ, drawn by their hash.
    """
    answers: dict[Side, dict[str, ItemAnswer]] = {
        side: {line.item: line for line in _read_lines(folder, f"{side}.jsonl", ItemAnswer)}
        for side in _SIDES
    }
    pairs, identical = [], 0
    for item in _read_lines(folder, "items.jsonl", ChatRow):
        own = {side: lines[item.id] for side, lines in answers.items() if item.id in lines}
        if item.set != "target" or item.max_tokens == 0 or len(own) < len(_SIDES):
            continue
        texts = [_show(own[side]) for side in _SIDES]
        if texts[0] == texts[1]:
            identical += 1
            continue
        digest = hashlib.sha256(msgspec.json.encode([item.id, *texts])).hexdigest()[:16]
        pairs.append(BlindPair(item, own, digest))
    pairs.sort(key=lambda pair: pair.digest)
    return BlindPairs(pairs[:MAX_PAIRS], identical, _read_lines(folder, FILE, PairJudgment))


def _show(answer: ItemAnswer) -> str:
    return answer.text.strip() + ("" if answer.ended else " …")


def _read_lines(folder: JobFolder, name: str, kind: type[_T]) -> Iterator[_T]:
    """Yield the lines of a file that can be read: the last one may be torn."""
    decoder, path = msgspec.json.Decoder(kind), folder.evaluations / name
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            yield decoder.decode(line)


def record(folder: JobFolder, judgment: PairJudgment) -> None:
    """Append a judgment to ``eval/by-hand.jsonl``, after a torn line on one of its own."""
    path = folder.evaluations / FILE
    torn = read_end(path, 1) not in (b"", b"\n")
    append(path, b"\n" * torn + msgspec.json.encode(judgment) + b"\n")


def apply(newest: NewestEvaluation, pairs: BlindPairs) -> Evaluation:
    """Return the evaluation with what the pairs say; write it where that changed."""
    folder, evaluation = newest.folder, newest.evaluation
    if (by_hand := pairs.compare()) == evaluation.by_hand:
        return evaluation
    evaluation = judge_again(evaluation, by_hand)
    write_json(folder.evaluation, evaluation)
    if result := read_json(folder.result, EvaluationResult):  # of a job; a run's has none
        candidates = [
            replace(c, verdict=evaluation.verdict) if c.name == result.best else c
            for c in result.candidates
        ]
        write_json(folder.result, replace(result, evaluation=evaluation, candidates=candidates))
    return evaluation


def describe(by_hand: HandComparison) -> str:
    """Describe what the pairs say: ``12 of 15 better: decided``."""
    decisive = by_hand.better + by_hand.worse
    counts = {"better": by_hand.better, "worse": by_hand.worse}
    if by_hand.outcome != "open":
        text = f"{counts[by_hand.outcome]} of {decisive} {by_hand.outcome}: decided"
    else:
        text = f"{by_hand.better} of {decisive} better, {by_hand.worse} worse: not decided"
    more = {
        "equal": by_hand.equal, "both wrong": by_hand.both_wrong, "skipped": by_hand.skipped,
    }  # fmt: skip
    parts = [text, *(f"{count} {name}" for name, count in more.items() if count)]
    return f"{', '.join(parts)}. {describe_identical(by_hand.identical)}".rstrip()


def describe_identical(count: int) -> str:
    """Describe how many items both models answer the same; empty without one."""
    items = format_count(count, "test item")
    return f"Both models give the same answer to {items}." if count else ""


def list_preferences(pairs: BlindPairs) -> Iterator[dict[str, Any]]:
    """Yield the pairs with a preference as rows of TRL's preference format."""
    for item, judgment in pairs.judged.items():
        pair, chosen = pairs.pairs[item], judgment.preferred
        if chosen is None or not pair.answers[chosen].ended:  # cut off: no answer to learn
            continue
        row = {"prompt": pair.item.messages}
        for name, side in (("chosen", chosen), ("rejected", _get_other(chosen))):
            text = pair.answers[side].text.strip()
            row[name] = [{"role": "assistant", "content": text}]
        yield row | ({"tools": pair.item.tools} if pair.item.tools else {})
