"""Progress of a run, accumulated from its events."""

from __future__ import annotations

import math
from collections import deque

from ftwizard.jobs.clock import Instant, TimeAlive
from ftwizard.jobs.events import (
    ENVELOPE,
    Event,
    get_instant,
    to_count,
    to_measure,
    to_number,
)
from ftwizard.objectives import OBJECTIVE_METRICS
from ftwizard.timeseries import Series, Smoothed, ThinSeries

ACTIVE = ("training", "evaluating", "saving")
"""Phases of the training itself."""
RATE_WINDOW = 50
"""Steps over which speed and remaining time are measured."""
BURST_S = 0.1
"""Steps of a platform that were copied within this time were reported together."""
_NOT_METRICS = ENVELOPE | {"step"}
MAX_METRICS = 64
"""Metrics kept; others are ignored."""
MAX_PROMPTS = 64
MAX_ANSWERS = 400
"""Answers kept for each prompt: the first, and the newest."""
MAX_ROWS_EVENTS = 8
"""``rows`` events kept, so that a resumed run still has one."""
MAX_POINTS, MAX_EVALUATIONS, MAX_OTHER_POINTS = 4096, 16_384, 64
"""Points of a summary: of the series that a diagnosis reads, of an evaluation's, and of others."""
HEAD_POINTS = 1024
"""Points of those that a diagnosis reads that stay as they were logged: it compares the first ones
with the first evaluations."""
MAX_OBJECTIVE_POINTS, OBJECTIVE_HEAD_POINTS = 1024, 128
"""The same for each of the series of preference tuning and reinforcement, of which there are many."""
MIN_STILL_S = 10.0
TIMES_STILL = 5.0
"""Without progress for that long, and for as many times a usual part, nothing is said of the time left."""
_DIAGNOSED = frozenset(("loss", "grad_norm", "learning_rate"))


class Progress:
    """The state of a run as accumulated from its events, which must be fed in order.

    A resumed attempt replays steps: data of an older attempt beyond the resumed step is dropped,
    and the last value of a step counts. Invalid fields are ignored, because events may come from
    another version or from an untrusted source.

    A summary is bounded, however long the run: its series are thin, and without sample answers and
    the highest-loss rows. All else is the same.
    """

    def __init__(self, *, is_summary: bool = False) -> None:
        self.is_summary = is_summary
        self.phase: str | None = None
        self.detail: str | None = None
        self.done: float | None = None
        self.total: float | None = None
        self.unit = ""
        self.left_s: float | None = None
        """Seconds left of the phase when it was reported, where it says so itself."""
        self.slow_set: str | None = None
        """The set of the item that takes far longer than others; None without one."""
        self.slow_line: int | None = None
        self.slow_s: float | None = None
        """How long it took, when it was reported."""
        self.usual_s: float | None = None
        """What the others took; None if there is none yet."""
        self.began_s = 0.0
        """When the phase began, or its present part, in working seconds of the attempt."""
        self.attempt = 0
        self.step: int | None = None
        self.total_steps: int | None = None
        self.vocabulary: int | None = None
        """Vocabulary size of the model."""
        self.accumulation: int | None = None
        """Micro-batches per optimizer step."""
        self.ranks: int | None = None
        """Processes that train together; None or 1: one."""
        self.parallel: str | None = None
        """How they do: ``ddp``."""
        self.ranks_on_gpu: bool | None = None
        """Whether each has a GPU."""
        self.ranks_speed: float | None = None
        """How many times as fast they are as one; None if unknown."""
        self.first_collective_s: float | None = None
        """Seconds of the first exchange between them."""
        self.rows_per_step: float | None = None
        """Mean rows in an optimizer step."""
        self.usual_rate: float | None = None
        """Peak learning rate that is usual for the method and the model."""
        self.mixes_rows = False
        """Whether general rows are mixed into the training rows."""
        self.objective: str | None = None
        """What the run trains for, as its plan names it; None if unknown."""
        self.epoch: float | None = None
        self.updated: float | None = None
        self.loss: float | None = None
        """The newest training loss; may be NaN or infinite."""
        self.eval_loss: float | None = None
        self.learning_rate: float | None = None
        self.memory: float | None = None
        """Peak memory of the training so far, in bytes."""
        self.gpu_memory: float | None = None
        """Peak GPU memory in bytes; None on the CPU, or if unknown."""
        self.grad_norm: float | None = None
        self.best_step: int | None = None
        """The step with the lowest validation loss, or of reinforcement the highest reward, the first
        of equals."""
        self.best_eval_loss: float | None = None
        self.eval_reward: float | None = None
        """The newest mean reward on validation prompts, of reinforcement."""
        self.best_eval_reward: float | None = None
        self.losses, self.evaluations = self._make("loss"), self._make("eval_loss")
        """The training and the validation loss over steps."""
        self.metrics = {"loss": self.losses, "eval_loss": self.evaluations}
        """All metrics of steps and evaluations, by name, over steps."""
        self.times = self._make("times")
        """Working seconds of all attempts at which each step was reported, over steps."""
        self.smoothed = Smoothed()
        """The training loss, smoothed."""
        self.checkpoints: dict[int, float | None] = {}
        self.findings: list[Event] = []
        self.samples: dict[int, list[Event]] = {}
        """``sample`` events by index of the prompt, oldest first."""
        self._hardest: deque[Event] = deque(maxlen=MAX_ROWS_EVENTS)
        self.alive = TimeAlive()
        self.training = TimeAlive()
        """The same for phases in ``ACTIVE`` only."""
        self.fetching = TimeAlive()
        """The same for the download of the model."""
        self.recent: deque[tuple[float, int, float]] = deque(maxlen=RATE_WINDOW)
        """Working seconds, step and tokens of the newest steps."""

    def get_series(self, name: str) -> Series:
        """Return the series of a metric; a new one is added."""
        series = self.metrics.get(name)
        if series is None:
            series = self.metrics[name] = self._make(name)
        return series

    def _make(self, name: str) -> Series:
        if not self.is_summary:
            return Series()
        if name.startswith("eval_"):
            return ThinSeries(MAX_EVALUATIONS, HEAD_POINTS)
        if name in _DIAGNOSED:
            return ThinSeries(MAX_POINTS, HEAD_POINTS)
        if OBJECTIVE_METRICS.fullmatch(name):
            return ThinSeries(MAX_OBJECTIVE_POINTS, OBJECTIVE_HEAD_POINTS)
        return ThinSeries(MAX_OTHER_POINTS, 1)

    @property
    def highest_loss_rows(self) -> Event | None:
        """Return the newest ``rows`` event: the highest-loss validation rows, worst first."""
        return self._hardest[-1] if self._hardest else None

    def feed(self, events: list[Event]) -> None:
        for event in events:
            if (now := get_instant(event)) is not None:
                self._process(event, now)

    def _process(self, event: Event, now: Instant) -> None:
        self.updated = now.t
        attempt = to_count(event.get("attempt", 0))
        if attempt is not None and attempt != self.attempt:
            self.attempt = attempt
            self.began_s = 0.0
            self.recent.clear()
            self.findings.clear()
        self.alive.record(self.attempt, now)
        was_fetching = self.phase == "fetching"
        self._process_kind(event)
        if was_fetching or self.phase == "fetching":
            self.fetching.record(self.attempt, now)
        if self.phase in ACTIVE:
            self.training.record(self.attempt, now)

    def _process_kind(self, event: Event) -> None:
        kind, step = event.get("kind"), to_count(event.get("step"))
        if kind == "phase":
            self._process_phase(event)
        elif kind == "finding":
            is_valid = step is not None or "step" not in event
            self._process_finding(event if is_valid else {**event, "step": None})
        elif step is None:
            return
        elif kind == "log":
            self._process_step(event, step)
        elif kind == "eval":
            self._enter("training")
            self._process_evaluation(event, step, to_number(event.get("eval_loss")))
        elif kind == "checkpoint":
            self._enter("training")
            self.checkpoints[step] = to_number(event.get("eval_loss"))
        elif kind == "sample":
            self._enter("training")
            self._process_sample(event, step)
        elif kind == "rows" and not self.is_summary and isinstance(rows := event.get("rows"), list):
            self._forget_rows_after(step - 1)
            valid = [row for row in rows if isinstance(row, dict)]
            self._hardest.append({**event, "step": step, "rows": valid})

    def _process_finding(self, event: Event) -> None:
        """Add a finding; an update replaces the verdict that it repeats, but not when that began."""
        verdicts = [index for index, old in enumerate(self.findings) if old.get("verdict")]
        newest = self.findings[verdicts[-1]] if verdicts else {}
        if event.get("update") is True and newest.get("code") == event.get("code"):
            event = {**event, "t": newest["t"], "step": newest.get("step")}
            self.findings[verdicts[-1]] = event
        else:
            self.findings.append(event)

    def _process_phase(self, event: Event) -> None:
        phase, detail, unit = event.get("phase"), event.get("what"), event.get("unit")
        if not isinstance(phase, str):
            return
        self._enter(phase)
        detail = detail if isinstance(detail, str) else None
        if detail != self.detail:
            self.detail, self.began_s = detail, self.alive.awake_s
        self.done, self.total = to_measure(event.get("done")), to_measure(event.get("total"))
        self.unit = unit if isinstance(unit, str) else ""
        self.left_s = to_measure(event.get("eta_s"))
        slow = event.get("slow")
        slow = slow if isinstance(slow, dict) else {}
        self.slow_set = slow["set"] if isinstance(slow.get("set"), str) else None
        self.slow_line, self.slow_s = to_count(slow.get("line")), to_measure(slow.get("seconds"))
        self.usual_s = to_measure(slow.get("usual_s"))
        start = to_count(event.get("step", 0))
        if self.phase == "training" and start is not None:
            self.step, self.total_steps = start, to_count(event.get("total"))
            self.vocabulary = to_count(event.get("vocabulary"))
            self.accumulation = to_count(event.get("accumulation"))
            self.rows_per_step = to_measure(event.get("rows_per_step"))
            parallel = event.get("parallel")
            self.ranks = to_count(event.get("ranks"))
            self.parallel = parallel if isinstance(parallel, str) else None
            self.ranks_on_gpu = event.get("on_gpu") is True
            self.ranks_speed = to_measure(event.get("speed"))
            self.first_collective_s = to_measure(event.get("first_collective_s"))
            self.usual_rate = to_measure(event.get("usual_rate"))
            self.mixes_rows = event.get("mixes_rows") is True
            objective = event.get("objective")
            self.objective = objective if isinstance(objective, str) else None
            self._forget_after(start)

    def _process_step(self, event: Event, step: int) -> None:
        self._enter("training")
        self.step = step
        self.epoch = to_measure(event.get("epoch"))
        self.learning_rate = to_number(event.get("learning_rate"))
        self.grad_norm = to_number(event.get("grad_norm"))
        self.memory = to_measure(event.get("memory")) or self.memory
        self.gpu_memory = self.memory if event.get("memory_on_gpu") is True else None
        if step < (self.times.last_x or 0.0):  # a replay without its phase
            self._forget_after(step)
        self.times.append(step, self.alive.seconds())
        self._keep_numbers(event, step)
        loss = to_number(event.get("loss"))
        if loss is not None:
            self.loss = loss
            if not self.is_summary:
                self.smoothed.append(step, loss)
        self._note_pace(event, step)

    def _note_pace(self, event: Event, step: int) -> None:
        """Add a step to those that speed is measured by.

        Steps with an ``id`` were copied from a platform, in bursts: those of a burst count as one
        moment.
        """
        now, tokens = self.alive.awake_s, to_measure(event.get("tokens")) or 0.0
        if "id" in event and self.recent and now - self.recent[-1][0] < BURST_S:
            now = self.recent.pop()[0]
        self.recent.append((now, step, tokens))

    def _process_evaluation(self, event: Event, step: int, loss: float | None) -> None:
        if step < (self.evaluations.last_x or 0.0):
            self._forget_after(step)
        self._keep_numbers(event, step)
        if loss is None or self.objective == "grpo":  # whose loss ranks nothing
            self._note_reward(step, to_number(event.get("eval_reward")))
            return
        self.eval_loss = loss
        if math.isfinite(loss) and (self.best_eval_loss is None or loss < self.best_eval_loss):
            self.best_step, self.best_eval_loss = step, loss

    def _note_reward(self, step: int, reward: float | None) -> None:
        if reward is None or not math.isfinite(reward):
            return
        self.eval_reward = reward
        if self.best_eval_reward is None or reward > self.best_eval_reward:
            self.best_step, self.best_eval_reward = step, reward

    def _process_sample(self, event: Event, step: int) -> None:
        index = to_count(event.get("index"))
        if self.is_summary:
            return
        is_full = index not in self.samples and len(self.samples) >= MAX_PROMPTS
        if index is None or is_full or not isinstance(event.get("answer"), str):
            return
        answers = self.samples.setdefault(index, [])
        answers[:] = [answer for answer in answers if answer["step"] < step]
        answers.append({**event, "step": step})
        if len(answers) > MAX_ANSWERS:
            del answers[1]

    def _keep_numbers(self, event: Event, step: int) -> None:
        for name, field in event.items():
            if name in _NOT_METRICS or (value := to_number(field)) is None:
                continue
            if name not in self.metrics and len(self.metrics) >= MAX_METRICS:
                continue
            series = self.get_series(name)
            if step < (series.last_x or 0.0):
                series.cut_after(step)
            series.append(step, value)

    def _forget_after(self, step: int) -> None:
        """Drop the data of an older attempt beyond ``step``."""
        for series in (*self.metrics.values(), self.times, self.smoothed):
            series.cut_after(step)
        for later in [saved for saved in self.checkpoints if saved > step]:
            del self.checkpoints[later]
        for answers in self.samples.values():
            answers[:] = [answer for answer in answers if answer["step"] <= step]
        self._forget_rows_after(step)
        if self.best_eval_reward is not None:
            self._forget_rewards()
        elif self.best_step is not None and self.best_step > step:
            points = self.evaluations.points(0, step)
            best = min(((y, x) for x, y in points if math.isfinite(y)), default=None)
            self.best_eval_loss, self.best_step = (best[0], int(best[1])) if best else (None, None)
        self.loss = self.losses[-1][1] if self.losses else None
        has_loss = self.evaluations and self.objective != "grpo"
        self.eval_loss = self.evaluations[-1][1] if has_loss else None

    def _forget_rewards(self) -> None:
        """Read the best and the newest reward again from what is left of the evaluations."""
        series = self.get_series("eval_reward")
        self.eval_reward = self.best_eval_reward = self.best_step = None
        for step, reward in series.points(0, series.last_x or 0.0):
            self._note_reward(int(step), reward)

    def _forget_rows_after(self, step: int) -> None:
        while self._hardest and self._hardest[-1]["step"] > step:
            self._hardest.pop()

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase, self.began_s = phase, self.alive.awake_s
            self.detail = self.done = self.total = self.left_s = None
            self.slow_set = self.slow_line = self.slow_s = self.usual_s = None

    @property
    def share(self) -> float | None:
        """Return the completed share of the training, or of another phase; None if unknown."""
        step, steps = self.step or 0, self.total_steps
        # After the last step, evaluating and saving must not look like the end.
        if steps and (self.phase == "training" or (self.phase in ACTIVE and step < steps)):
            return step / steps
        return (self.done or 0.0) / self.total if self.total else None

    @property
    def tokens_per_s(self) -> float | None:
        seconds, _, tokens = self._measure_recent()
        return tokens / seconds if seconds > 0 and tokens > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Return the seconds until the last step at the recent speed, evaluations included."""
        seconds, steps, _ = self._measure_recent()
        if not steps or self.step is None or not self.total_steps:
            return None
        return max(0.0, (self.total_steps - self.step) * seconds / steps)

    def is_moving(self, age_s: float | None) -> bool:
        """Return whether the recent speed still holds, ``age_s`` after the newest event."""
        seconds, steps, _ = self._measure_recent()
        return (age_s or 0.0) <= max(MIN_STILL_S, TIMES_STILL * seconds / max(1, steps))

    def wait_s(self, now: Instant) -> float:
        """Return for how long the phase has lasted at ``now``; in the training, the present step."""
        began_s = self.alive.awake_s if self.phase == "training" else self.began_s
        return self.alive.seconds_of(self.attempt, now) - began_s

    def age_s(self, now: Instant) -> float:
        """Return the time since the newest event, at ``now``."""
        return max(0.0, self.alive.seconds_of(self.attempt, now) - self.alive.awake_s)

    def limited_s(self, now: Instant | None) -> float:
        """Return the seconds of the newest attempt that count toward ``budget.minutes``: all but the
        download of the model, up to ``now`` if it is active."""
        fetching_until = now if self.phase == "fetching" else None
        alive = self.alive.seconds_of(self.attempt, now)
        return alive - self.fetching.seconds_of(self.attempt, fetching_until)

    def _measure_recent(self) -> tuple[float, int, float]:
        """Return the seconds, steps and tokens of the last ``RATE_WINDOW`` steps."""
        if len(self.recent) < 2:
            return 0.0, 0, 0.0
        first, last = self.recent[0], self.recent[-1]
        return last[0] - first[0], last[1] - first[1], last[2] - first[2]
