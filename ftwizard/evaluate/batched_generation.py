"""Greedy generation for many prompts at once, with the same tokens as one by one.

Prompts of one group share the keys and values of their common beginning. Finished rows leave the
batch and waiting ones join it, so that no row waits for the longest answer.
"""

from __future__ import annotations

import inspect
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.text import format_count

MIN_PREFIX = 16
"""Tokens in common that are worth computing once."""
PREFILL_TOKENS = 4096
"""Tokens of prompts that are processed at once, padding included."""
JOIN_SHARE = 0.25
"""Share of the batch that must be free before further prompts are processed."""
PASS_TOKENS = 512
"""Tokens of each prompt that are processed in one pass: between two, a stop and a deadline are seen."""
TIMES_WIDER = 4
"""Multiple of the usual prompt from which one is long: it would widen the whole batch."""
MIN_DEADLINE_S = 60.0
"""Least time for an answer, however short the others take."""
FIRST_DEADLINE_S = 600.0
"""Least time for answers before one of their kind is complete."""
TIMES_EXPECTED = 10.0
"""Multiple of the expected time after which an answer is cut."""
MAX_PASS_S = 30.0
"""Most seconds of one pass that count."""
TIMES_ENDLESS = 4.0
"""Multiple of the mean answer from which one probably goes on to its limit."""
SLOW_S = 15.0
TIMES_SLOW = 5.0
"""An answer that takes longer, and as many times the usual time, is named."""


class GenerationRequest(NamedTuple):
    """A prompt to answer."""

    key: int
    prompt: list[int]
    limit: int
    """Maximum of new tokens."""
    group: str = ""
    """Prompts of a group probably begin alike."""


class Finished(NamedTuple):
    """A complete answer."""

    key: int
    tokens: list[int]
    """Without the token that ended it."""
    ended: bool
    """Whether it ended by itself, not at its limit."""
    late_s: float | None = None
    """Seconds after which it was cut at its deadline; None: it was not."""


class SlowAnswer(NamedTuple):
    """An answer that takes far longer than others."""

    key: int
    seconds: float
    """So far."""
    usual_s: float | None
    """Of the others; None: there is none yet."""


class AnswerTimes:
    """Times of prompts, steps and answers: which answer is slow, and when one is cut."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.slow: SlowAnswer | None = None
        self._clock, self._read_at, self._worked_s = clock, clock(), 0.0
        self._prompts: list[float] = []
        self._steps: deque[float] = deque(maxlen=64)
        self._answers: list[float] = []

    def read(self) -> float:
        """Return the seconds of work so far; call it after each pass, as a suspended process does not work."""
        now = self._clock()
        self._worked_s += min(MAX_PASS_S, now - self._read_at)
        self._read_at = now
        return self._worked_s

    def record_prompts(self, seconds: float, count: int) -> None:
        self._prompts += [seconds / count] * count

    def record_step(self, seconds: float) -> None:
        self._steps.append(seconds)

    def record_answer(self, seconds: float) -> None:
        self._answers.append(seconds)

    def is_late(self, seconds: float, limit: int) -> bool:
        """Return whether an answer of at most ``limit`` tokens is to be cut after ``seconds``.

        That follows from the time of other prompts, not of its own, and of steps up to its limit: no answer
        is cut because the machine is slow.
        """
        if seconds <= MIN_DEADLINE_S:
            return False
        step_s = statistics.median(self._steps) if self._steps else 0.0
        prompt_s = statistics.median(self._prompts) if self._prompts else 0.0
        least_s = MIN_DEADLINE_S if self._answers else FIRST_DEADLINE_S
        return seconds > max(least_s, TIMES_EXPECTED * (prompt_s + limit * step_s))

    def watch(self, key: int, seconds: float, *, is_alone: bool) -> None:
        """Note the answer that is in work for longest; ``is_alone``: nothing else is in work."""
        self.slow = None
        if seconds > SLOW_S and (self._answers or is_alone):
            usual_s = statistics.median(self._answers) if self._answers else None
            if seconds > TIMES_SLOW * (usual_s or 0.0):
                self.slow = SlowAnswer(key, seconds, usual_s)


class Batch:
    """Rows in work, with their keys and values; left-padded to one width."""

    def __init__(
        self, rows: list[GenerationRequest], began: float, cache: Any, mask: Any, logits: Any
    ) -> None:
        self.rows = rows
        self.began = [began for _ in rows]
        self.answers: list[list[int]] = [[] for _ in rows]
        self.cache = cache
        self.mask = mask
        self.logits = logits
        """Of the next token of each row."""


def supports(model: Any) -> bool:
    """Return whether the model's cache has only keys and values, so that rows can join."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not takes(model, "position_ids") or getattr(model, "_is_stateful", False):
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def takes(model: Any, parameter: str) -> bool:
    """Return whether the model, below its adapter, takes a parameter of that name."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return parameter in inspect.signature(inner.forward).parameters


class Generator:
    """Generates with one model, and hands over each answer when it is complete."""

    def __init__(
        self,
        model: Any,
        stops: set[int],
        pad: int,
        *,
        max_rows: int,
        on_done: Callable[[Finished], None],
        on_work: Callable[[float], None] = lambda items: None,
        may_start: Callable[[], bool] | None = None,
        say: Callable[[str], None] = lambda text: None,
        times: AnswerTimes | None = None,
    ) -> None:
        """``on_work`` is called after each token with the work done on open answers, in answers.

        With ``may_start``, prompts are begun in their order, and none once it returns False. ``say``
        is told of a batch that did not fit into memory; ``times`` are those of earlier answers.
        """
        self._times = times or AnswerTimes()
        self._model, self._stops, self._pad = model, stops, pad
        self._max_rows, self._on_done, self._on_work = max_rows, on_done, on_work
        self._may_start, self._say = may_start, say
        # transformers renamed the argument in 5.2x.
        self._cache_name = "cache" if takes(model, "cache") else "past_key_values"
        self._keep = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}
        self._batch: Batch | None = None
        self._prefix: list[int] = []
        self._prefix_cache: Any = None
        self._total = self._steps = self._tokens = self._answers = 0
        self._work = 0.0

    def run(self, requests: Sequence[GenerationRequest]) -> None:
        """Answer ``requests``; raise FtwizardError if the memory does not suffice for one."""
        import torch

        left = {request.key: request for request in requests}
        self._total = len(left)
        report = self._on_done

        def on_done(answer: Finished) -> None:
            del left[answer.key]
            self._tokens += len(answer.tokens)
            self._answers += 1
            report(answer)

        self._on_done = on_done
        with torch.inference_mode():
            while left:
                try:
                    self._run_all(list(left.values()))
                    return
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    self._shrink()

    def _shrink(self) -> None:
        """Halve the batch; its open answers begin again."""
        import torch

        if self._max_rows == 1:
            raise FtwizardError(
                "There is not enough memory for one answer.",
                "Close other programs, or lower the limit of tokens per answer.",
            )
        self._max_rows //= 2
        self._batch = self._prefix_cache = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows = format_count(self._max_rows, "answer")
        self._say(f"Out of memory: continuing with {rows} at once.")

    def _run_all(self, requests: Sequence[GenerationRequest]) -> None:
        waiting = deque(self._chunk(requests))
        while waiting or self._batch:
            while waiting and self._has_space(waiting[0][1]):
                if self._may_start and (self._batch or self._answers) and not self._may_start():
                    waiting.clear()
                    break
                if added := self._prefill(*waiting.popleft()):
                    self._batch = self._join(self._batch, added)
            if self._batch:
                began = self._times.read()
                self._batch = self._step(self._batch)
                self._times.record_step(self._times.read() - began)

    def _has_space(self, rows: list[GenerationRequest]) -> bool:
        return not self._batch or len(self._batch.rows) + len(rows) <= self._max_rows

    def _chunk(
        self, requests: Sequence[GenerationRequest]
    ) -> list[tuple[list[int], list[GenerationRequest]]]:
        """Return chunks of prompts with their common beginning, each of similar length."""
        groups: dict[str, list[GenerationRequest]] = {}
        for request in requests:
            groups.setdefault(request.group, []).append(request)
        prefixes = {
            name: find_prefix([row.prompt for row in rows]) for name, rows in groups.items()
        }
        if self._may_start:
            return [(prefixes[row.group], [row]) for row in requests]
        chunks = []
        for name, rows in groups.items():
            rows = sorted(rows, key=lambda row: len(row.prompt), reverse=True)
            while rows:
                count = self._count_rows(len(rows[0].prompt) - len(prefixes[name]))
                chunks.append((prefixes[name], rows[:count]))
                rows = rows[count:]
        return chunks

    def _count_rows(self, width: int) -> int:
        return max(1, min(round(self._max_rows * JOIN_SHARE), PREFILL_TOKENS // width))

    def _prefill(self, prefix: list[int], rows: list[GenerationRequest]) -> Batch | None:
        """Process prompts; None if they were cut at their deadline."""
        import torch

        began = self._times.read()
        device, start = self._model.device, len(prefix)
        width = max(len(row.prompt) for row in rows) - start
        ids = torch.full((len(rows), width), self._pad)
        mask = torch.zeros((len(rows), start + width), dtype=torch.long)
        mask[:, :start] = 1
        for index, row in enumerate(rows):
            tail = row.prompt[start:]
            ids[index, width - len(tail) :] = torch.tensor(tail)
            mask[index, start + width - len(tail) :] = 1
        mask = mask.to(device)
        cache = self._copy_prefix(prefix, len(rows))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, start:]
        for done in range(0, width, PASS_TOKENS):
            if done and self._cut_late(rows, self._times.read() - began):
                return None
            end = min(done + PASS_TOKENS, width)
            logits = self._forward(
                ids[:, done:end].to(device), mask[:, : start + end], positions[:, done:end], cache
            )
        self._times.record_prompts(self._times.read() - began, len(rows))
        return Batch(rows, began, cache, mask, logits)

    def _cut_late(self, rows: list[GenerationRequest], elapsed: float) -> bool:
        """Report prompts that are being processed; return whether they were cut at their deadline."""
        self._times.watch(rows[0].key, elapsed, is_alone=len(rows) == 1 and not self._batch)
        self._on_work(self._work)
        if not self._times.is_late(elapsed, max(row.limit for row in rows)):
            return False
        for row in rows:
            self._on_done(Finished(row.key, [], False, elapsed))
        return True

    def _copy_prefix(self, prefix: list[int], count: int) -> Any:
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        if prefix:
            if self._prefix_cache is None or self._prefix != prefix:
                self._prefix, self._prefix_cache = prefix, DynamicCache()
                ids = torch.tensor([prefix], device=self._model.device)
                positions = torch.arange(len(prefix), device=self._model.device)[None]
                self._forward(ids, torch.ones_like(ids), positions, self._prefix_cache)
            for index, layer in enumerate(self._prefix_cache.layers):
                if layer.is_initialized:
                    shape = (count, -1, -1, -1)
                    cache.update(layer.keys.expand(shape), layer.values.expand(shape), index)
        return cache

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self._cache_name: cache},
            **self._keep,
        )
        return output.logits[:, -1]

    def _join(self, batch: Batch | None, added: Batch) -> Batch:
        import torch
        from torch.nn.functional import pad

        if batch is None:
            return added
        width = max(batch.mask.shape[1], added.mask.shape[1])
        masks = [pad(part.mask, (width - part.mask.shape[1], 0)) for part in (batch, added)]
        for layer, other in zip(batch.cache.layers, added.cache.layers, strict=True):
            if not layer.is_initialized:
                continue
            for name in ("keys", "values"):
                parts = [getattr(layer, name), getattr(other, name)]
                parts = [pad(part, (0, 0, width - part.shape[2], 0)) for part in parts]
                setattr(layer, name, torch.cat(parts))
        batch.mask = torch.cat(masks)
        batch.logits = torch.cat([batch.logits, added.logits])
        batch.rows += added.rows
        batch.began += added.began
        batch.answers += added.answers
        return batch

    def _step(self, batch: Batch) -> Batch | None:
        """Choose the next token of each row, report finished rows, and process the others."""
        import torch

        self._steps += 1
        chosen = batch.logits.argmax(-1)
        kept, now = [], self._times.read()
        for index, token in enumerate(chosen.tolist()):
            row, answer, elapsed = batch.rows[index], batch.answers[index], now - batch.began[index]
            ended = token in self._stops
            if not ended:
                answer.append(token)
            if ended or len(answer) >= row.limit:
                self._times.record_answer(elapsed)
                self._on_done(Finished(row.key, answer, ended))
            elif self._times.is_late(elapsed, row.limit):
                self._on_done(Finished(row.key, answer, False, elapsed))
            else:
                kept.append(index)
        if kept:
            first = min(kept, key=batch.began.__getitem__)
            elapsed = now - batch.began[first]
            self._times.watch(batch.rows[first].key, elapsed, is_alone=len(kept) == 1)
        else:
            self._times.slow = None
        self._work = self._measure_work(batch, kept)
        self._on_work(self._work)
        if not kept:
            return None
        if len(kept) < len(batch.rows):
            indices = torch.tensor(kept, device=chosen.device)
            batch.cache.batch_select_indices(indices)
            batch.mask, chosen = batch.mask[indices], chosen[indices]
            batch.rows = [batch.rows[index] for index in kept]
            batch.began = [batch.began[index] for index in kept]
            batch.answers = [batch.answers[index] for index in kept]
        batch.mask = torch.nn.functional.pad(batch.mask, (0, 1), value=1)
        positions = batch.mask.sum(-1, keepdim=True) - 1
        batch.logits = self._forward(chosen[:, None], batch.mask, positions, batch.cache)
        return batch

    def _measure_work(self, batch: Batch, kept: Sequence[int]) -> float:
        """Return the work done on open answers, in answers.

        The mean length counts the tokens of open answers too: those that end first are short
        (the estimate for censored exponential lengths). It is also what an open answer still needs.
        One that is far longer than the complete ones probably does not end before its limit. Once none
        waits, the longest of them decides, however few share its steps.
        """
        lengths = [len(batch.answers[index]) for index in kept]
        mean = (self._tokens + sum(lengths)) / (self._answers + 0.5)
        endless = TIMES_ENDLESS * self._tokens / self._answers if self._answers else float("inf")
        left = [
            batch.rows[index].limit - length if length > endless
            else min(mean, batch.rows[index].limit - length)
            for index, length in zip(kept, lengths, strict=True)
        ]  # fmt: skip
        work = sum(
            length / (length + need) for length, need in zip(lengths, left, strict=True) if length
        )
        if kept and self._total - self._answers == len(kept):
            work = min(work, len(kept) - max(left) * self._answers / self._steps)
        return work


def set_long_apart(requests: Sequence[GenerationRequest]) -> list[list[GenerationRequest]]:
    """Return the requests, and after them those with far longer prompts, in lists that share no batch."""
    widths = sorted(len(row.prompt) for row in requests)
    limit = max(PASS_TOKENS, TIMES_WIDER * widths[int(0.9 * (len(widths) - 1))])
    parts = [
        [row for row in requests if (len(row.prompt) > limit) == is_long]
        for is_long in (False, True)
    ]
    return [part for part in parts if part]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch says that the memory does not suffice."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def find_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """Return what all prompts begin with, leaving at least a token of each; [] if it is short."""
    first, last = min(prompts), max(prompts)
    if len(prompts) < 2:
        return []
    most = min(map(len, prompts)) - 1
    count = next((i for i in range(most) if first[i] != last[i]), most)
    return first[:count] if count >= MIN_PREFIX else []
