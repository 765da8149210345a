"""Runs an evaluation: every arm answers every item, from the cache where it can.

What is answered is kept at once, so that a stop or a kill loses nothing: the same call continues.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate.answer_cache import FILE, AnswerCache, make_key, user_cache
from ftwizard.evaluate.arms import Answerer, Arm
from ftwizard.evaluate.endpoint import EndpointAnswerer
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import (
    LocalAnswerer,
    LocalModels,
    Loss,
    RowLikelihood,
    SlowItem,
    make_late,
)
from ftwizard.evaluate.prompts import count_bytes, set_limits
from ftwizard.jobs.folder import write_whole
from ftwizard.plan.schema import Recipe
from ftwizard.runs.evaluation import ItemAnswer

LIMITED_SHARE = 0.8
"""Share of a limited time, divided by the number of arms, in which the first arm begins items. The
other arms answer the items that it answered."""
MIN_WORK = 0.5
"""Answers' worth of work before the remaining time is estimated."""
MIN_STILL_S = 10.0
TIMES_STILL = 5.0
"""Without any work for that long, and for as many times an answer's, nothing is said of the time left."""
Split = Callable[[Sequence[Item], Mapping[str, ItemAnswer]], Iterable[Sequence[Item]]]
"""Yields parts of items, one after the other; it sees the answers that the model gave to the parts before."""
STALLED_S = 30.0
"""Time from which a slow item is not tried again if this attempt ends meanwhile."""
STALLED_FILE = "stalled.json"
"""In ``eval/``: ids of the items that were cut at their deadline, or in work too long as the run ended."""


class EvaluationProgress(NamedTuple):
    """How far an evaluation is."""

    arm: str
    arm_done: int
    arm_total: int
    done: float
    """Answers of all arms, with shares of those that are in work."""
    total: int
    eta_s: float | None
    """None: too early to estimate."""
    requests_per_minute: float | None = None
    """None where the requests are not counted by the minute."""
    slow: SlowItem | None = None
    """The item that takes far longer than others."""


class RemainingTime:
    """Estimate of the remaining time from the work done so far, without what the cache had."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``total``: answers to compute."""
        self.total, self._clock = total, clock
        self._start: float | None = None
        self._most = self._first = self._moved = self._still_s = 0.0

    def record(self, done: float) -> tuple[float, float | None]:
        """Return what to show as done, which never falls, and the seconds left.

        ``done``: answers, with shares of those in work. The time counts from the first work, as the
        model is loaded before. None if it is too early to estimate, and while nothing gets done: then what
        was estimated before is no longer true. Such a time does not count for the answers after it.
        """
        now, before = self._clock(), self._most
        self._most = max(before, done)
        if self._start is None:
            if done:
                self._start, self._moved, self._first = now, now, done
            return self._most, None
        usual_s = self._measure(self._moved, before)
        limit_s = max(MIN_STILL_S, TIMES_STILL * usual_s) if usual_s else float("inf")
        is_still = now - self._moved > limit_s
        if done > before:
            self._still_s += now - self._moved - usual_s if is_still else 0.0
            self._moved = now
        elif is_still:
            return self._most, None
        per_answer = self._measure(now, done)
        return self._most, per_answer * max(0.0, self.total - done) if per_answer else None

    def _measure(self, now: float, done: float) -> float:
        """Return the seconds of an answer, by those done until ``now``; 0 if it is too early."""
        if self._start is None or done - self._first < MIN_WORK:
            return 0.0
        return (now - self._start - self._still_s) / (done - self._first)


def is_endpoint(arm: Arm) -> bool:
    """Return whether an arm is asked over the network."""
    return arm.is_endpoint


def answer_all(
    arms: Sequence[Arm],
    items: Sequence[Item],
    folder: Path,
    *,
    recipe: Recipe | None = None,
    seconds: float | None = None,
    seed: int = 0,
    split: Split = lambda items, answers: [items],
    on_progress: Callable[[EvaluationProgress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, list[ItemAnswer]]:
    """Return the answers of each arm, in the order of ``items``; write them to ``eval/<arm>.jsonl``.

    ``split``: what is asked first; items that it leaves out are not asked.

    ``folder``: of the job. ``recipe``: that of the run, for its precision. ``on_progress`` is called
    at each token and answer, and may raise Stopped. ``say`` is told what is loaded. In limited
    ``seconds``, items are drawn at random, and those that the first arm answers in time count.
    Raises FtwizardError if an arm cannot be asked.
    """
    (folder / "eval").mkdir(mode=0o700, exist_ok=True)
    kept = AnswerCache(user_cache())
    run = _Run(folder, kept, LocalModels(kept, recipe, say), on_progress)
    try:
        return run.answer(arms, items, split, seconds, seed)
    finally:
        run.close()


def compute_text_losses(
    arms: Sequence[Arm],
    texts: Sequence[str],
    *,
    recipe: Recipe | None = None,
    on_progress: Callable[[EvaluationProgress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, list[Loss]]:
    """Return the loss of each plain text by each local arm, from the cache where it can.

    Endpoints have none: what they report of a prompt's probabilities cannot be relied on. Other
    arguments and errors: ``answer_all``.
    """
    cache = AnswerCache(user_cache())
    models = LocalModels(cache, recipe, say)
    losses: dict[str, list[Loss]] = {}
    try:
        for arm in arms:
            if is_endpoint(arm):
                continue
            answerer = LocalAnswerer(arm, models)
            keys = [make_key(answerer.identity, "text", text) for text in texts]
            kept = cache.get(keys)
            missing = [index for index, key in enumerate(keys) if key not in kept]

            def report(done: float, arm: Arm = arm, missing: Sequence[int] = missing) -> None:
                count = len(texts) - len(missing) + int(done)
                on_progress(
                    EvaluationProgress(arm.name, count, len(texts), count, len(texts), None)
                )

            new = answerer.compute_text_losses([texts[i] for i in missing], report)
            for index, loss in zip(missing, new, strict=True):
                answer = ItemAnswer(item="", text="", loss=loss.total, loss_tokens=loss.tokens)
                kept[keys[index]] = answer
                cache.put(keys[index], answer)
            losses[arm.name] = [Loss(kept[key].loss or 0.0, kept[key].loss_tokens) for key in keys]
    finally:
        models.unload()
        cache.close()
    return losses


def compute_row_likelihoods(
    arms: Sequence[Arm],
    rows: Sequence[ParsedRow],
    *,
    recipe: Recipe,
    on_progress: Callable[[str, int], None],
    seconds: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, list[RowLikelihood | None]]:
    """Return the likelihood of the answers of each row by each local arm.

    ``on_progress`` gets the name of the arm and the rows done. In limited ``seconds``, each arm reads
    the first rows, as many as fit into its share.
    """
    began, share = time.monotonic(), None if seconds is None else seconds / max(1, len(arms))
    cache = AnswerCache(user_cache())
    models = LocalModels(cache, recipe, say)
    try:
        return {
            arm.name: LocalAnswerer(arm, models).compute_row_likelihoods(
                rows,
                recipe.max_length,
                functools.partial(on_progress, arm.name),
                _make_deadline(None if share is None else began + share * number),
            )
            for number, arm in enumerate(arms, 1)
        }
    finally:
        models.unload()
        cache.close()


def _make_deadline(until: float | None) -> Callable[[], bool]:
    return lambda: until is None or time.monotonic() < until


class _Stalled:
    """The items that stalled an evaluation, on disk: they are not tried again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.earlier: frozenset[str] = frozenset(self._read())
        """Of earlier calls."""
        self._ids = set(self.earlier)

    def _read(self) -> list[str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[str])
        except (OSError, msgspec.MsgspecError):
            return []

    def watch(self, slow: SlowItem | None, answers: Mapping[str, ItemAnswer]) -> None:
        """Keep the item that takes too long, and those that were cut; forget those that were answered."""
        ids = {item for item in self._ids if item not in answers or answers[item].is_late}
        if slow and slow.seconds > STALLED_S and slow.item.id not in answers:
            ids.add(slow.item.id)
        if ids != self._ids:
            self._ids = ids
            write_whole(self._path, msgspec.json.encode(sorted(ids)))


class _Run:
    """The state of one call of ``answer_all``."""

    def __init__(
        self,
        folder: Path,
        cache: AnswerCache,
        models: LocalModels,
        on_progress: Callable[[EvaluationProgress], None],
    ) -> None:
        self._folder, self._cache, self._models = folder, cache, models
        self._own = AnswerCache(None)
        self._stalled = _Stalled(folder / "eval" / STALLED_FILE)
        self._on_progress = on_progress
        self._answers: dict[str, dict[str, ItemAnswer]] = {}
        self._total = self._computed = 0
        self._pace = RemainingTime(0)

    def close(self) -> None:
        self._models.unload()
        self._cache.close()
        self._own.close()

    def answer(
        self,
        arms: Sequence[Arm],
        items: Sequence[Item],
        split: Split,
        seconds: float | None,
        seed: int,
    ) -> dict[str, list[ItemAnswer]]:
        answerers = {arm.name: self._make_answerer(arm) for arm in arms}
        if any(is_endpoint(arm) for arm in arms):
            self._own = AnswerCache(self._folder / "eval" / FILE)
        local = [answerer for answerer in answerers.values() if isinstance(answerer, LocalAnswerer)]
        items = set_limits(items, local[0].count_tokens if local else count_bytes)
        order, until = list(items), None
        if seconds is not None:
            until = time.monotonic() + seconds * LIMITED_SHARE / max(1, len(arms))
            random.Random(seed).shuffle(order)
        for name, answerer in answerers.items():
            self._answers[name] = self._read_cache(answerer, items)
        self._count(order)
        asked: dict[str, set[str]] = {name: set() for name in answerers}
        for name, answerer in answerers.items():
            for part in split(order, self._answers[name]):
                self._answer_arm(name, answerer, order, part, until)
                asked[name] |= {item.id for item in part}
            if until is not None:
                order, until = [item for item in order if item.id in self._answers[name]], None
                self._count(order)
        return {
            name: self._write(name, [item for item in items if item.id in asked[name]])
            for name in answerers
        }

    def _make_answerer(self, arm: Arm) -> Answerer:
        return EndpointAnswerer(arm) if is_endpoint(arm) else LocalAnswerer(arm, self._models)

    def _get_cache(self, answerer: Answerer) -> AnswerCache:
        """Return where answers are kept; the model behind an endpoint may be another next time."""
        return self._own if isinstance(answerer, EndpointAnswerer) else self._cache

    def _read_cache(self, answerer: Answerer, items: Sequence[Item]) -> dict[str, ItemAnswer]:
        keys = {item.id: answerer.key(item) for item in items}
        answers = self._get_cache(answerer).get(list(keys.values()))
        return {
            item: msgspec.structs.replace(answers[key], item=item)
            for item, key in keys.items()
            if key in answers
        }

    def _count(self, items: Sequence[Item]) -> None:
        """Count what is to compute for ``items`` from here on."""
        missing = [item.id not in arm for arm in self._answers.values() for item in items]
        self._total = len(missing)
        self._pace, self._computed = RemainingTime(sum(missing)), 0

    def _answer_arm(
        self,
        name: str,
        answerer: Answerer,
        items: Sequence[Item],
        part: Sequence[Item],
        until: float | None,
    ) -> None:
        """Let an arm answer a part of the items."""
        answers, cache = self._answers[name], self._get_cache(answerer)
        for item in part:
            if item.id not in answers and item.id in self._stalled.earlier:
                answers[item.id] = make_late(item, "It took too long before")
                self._computed += 1
        missing = [item for item in part if item.id not in answers]

        open_work = 0.0

        def store(item: Item, answer: ItemAnswer) -> None:
            if answer.score is None:
                cache.put(answerer.key(item), answer)
            answers[item.id] = answer
            self._computed += 1
            report(max(0.0, open_work - 1))

        def report(work: float) -> None:
            nonlocal open_work
            open_work = work
            arm_done = sum(item.id in answers for item in items)
            done, eta_s = self._pace.record(self._computed + work)
            done += self._total - self._pace.total
            rate, slow = None, None
            if isinstance(answerer, EndpointAnswerer):
                rate = answerer.requests_per_minute
            if isinstance(answerer, LocalAnswerer):
                slow = answerer.slow
                self._stalled.watch(slow, answers)
            self._on_progress(
                EvaluationProgress(name, arm_done, len(items), done, self._total, eta_s, rate, slow)
            )

        report(0.0)
        if missing:
            may_start = None if until is None else lambda: time.monotonic() < until
            answerer.answer(missing, store, report, may_start)

    def _write(self, name: str, items: Sequence[Item]) -> list[ItemAnswer]:
        by_id = self._answers[name]
        answers = [by_id[item.id] for item in items if item.id in by_id]
        lines = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
        write_whole(self._folder / "eval" / f"{name}.jsonl", lines)
        return answers
