"""Fit check of a run against GPUs, with changes that make it fit and larger alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.errors import FtwizardError
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import (
    ALONE,
    GIB,
    Group,
    MemoryEstimate,
    Sharded,
    estimate_each,
    find_fewest_gpus,
)
from ftwizard.estimate.memory_savings import (
    Estimate,
    FitTest,
    changed,
    changed_settings,
    describe_changes,
    minimize_memory,
    search,
)
from ftwizard.estimate.training_setup import METHOD_NAMES, TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure
from ftwizard.text import format_byte_range, format_bytes, format_count, make_visible

Verdict = Literal["fits", "tight", "does not fit"]


class AvailableGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One available GPU."""

    name: str
    memory: float
    """Bytes."""
    used: float = 0.0
    """Bytes used by other processes."""

    @property
    def free(self) -> float:
        """Return the bytes available to a run."""
        return max(0.0, self.memory - self.used)


class MemorySaving(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the plan that reduces memory."""

    setting: str
    """Its name in the plan, such as ``recipe.max_length``, or several separated by commas; ``model``
    for a smaller model, ``trl`` for a newer library."""
    settings: dict[str, Any] = {}
    """New values by recipe name; empty for a smaller model and a newer library."""
    description: str = msgspec.field(name="words")
    setup: TrainingSetup | None
    """With the change; None for a smaller model."""
    memory: MemoryEstimate
    verdict: Verdict
    costs: str
    """Description of its cost."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The fit of a run on one GPU, or of each of its processes on one."""

    gpu: AvailableGpu
    verdict: Verdict
    memory: MemoryEstimate
    changes: tuple[MemorySaving, ...] = ()
    """Changes that each make it fit, or at least tight if nothing makes it fit; cheapest first.
    Single changes if one is enough, else combinations. Empty if it fits."""
    sharded: Sharded | None = None
    """The fewest GPUs like this one that fit the model when sharded; None if it fits on one, or not
    even on 8."""
    sentence: str
    """Description of the verdict and of alternatives."""


def judge_fit(memory: MemoryEstimate, gpu: AvailableGpu) -> Verdict:
    """Judge an estimate against the free memory of a GPU."""
    return judge_bytes(memory.peak.value, memory.peak.highest, gpu.free)


def judge_bytes(likely: float, high: float, free: float) -> Verdict:
    """Return ``fits`` if even the ``high`` need fits, ``tight`` if only the ``likely`` one does."""
    return "fits" if high <= free else "tight" if likely <= free else "does not fit"


def check_fit(
    shape: ModelShape,
    setup: TrainingSetup,
    gpu: AvailableGpu,
    *,
    smaller: Sequence[tuple[str, ModelShape]] = (),
    counted: MemoryEstimate | None = None,
    spread: LengthDistribution | None = None,
    cards: Sequence[GpuSpec] = (),
    group: Group = ALONE,
) -> Fit:
    """Check the fit of the model on a GPU, that of each process of ``group``.

    ``smaller``: alternative models by name, best first; ``counted``: memory of exactly this setup
    from the ledger, for one process; ``spread``: row lengths, to count truncated rows; ``cards``: GPUs
    that may be suggested. Raises FtwizardError as ``estimate_memory`` does.
    """
    estimate = estimate_like(shape, setup, counted, group)
    memory = counted if counted and group.size == 1 else estimate(setup)
    return _Case(shape, setup, gpu, memory, estimate, smaller, spread, cards, group).check()


def estimate_like(
    shape: ModelShape, setup: TrainingSetup, counted: MemoryEstimate | None, group: Group = ALONE
) -> Estimate:
    """Return a function that estimates other setups on a GPU of each process of ``group``.

    They are scaled up where the ledger ``counted`` more for ``setup`` than was computed.
    """
    computed = estimate_each(shape, setup)
    factor = max(1.0, counted.peak.value / computed.peak.value) if counted else 1.0
    return lambda candidate: _scale_memory(estimate_each(shape, candidate, group), factor)


def check_fit_by_count(
    memory: MemoryEstimate, gpu: AvailableGpu, *, cards: Sequence[GpuSpec] = ()
) -> Fit:
    """Check the fit on one GPU from a memory count alone, without changes that would make it fit.

    ``cards``: GPUs that may be suggested.
    """
    judged = judge_fit(memory, gpu)
    sentence = _describe(memory, gpu, judged)
    if judged == "does not fit":
        sentence = _join(sentence, _suggest_cards("As it is, ", memory, cards))
    return Fit(gpu=gpu, verdict=judged, memory=memory, sentence=sentence)


def find_large_enough(memory: MemoryEstimate, cards: Sequence[GpuSpec]) -> tuple[GpuSpec, ...]:
    """Return up to two of the smallest GPUs of known speed that surely fit this memory.

    Sizes as sold (GB, 10⁹ bytes) never exceed the real memory. GPUs without bf16 may need another
    precision, and so more memory.
    """
    desktop = [card for card in cards if card.tflops and card.bf16]
    enough = [card for card in desktop if memory.peak.highest <= card.memory * 1e9]
    smallest = min((card.memory for card in enough), default=0.0)
    return tuple(card for card in enough if card.memory == smallest)[:2]


@dataclass(frozen=True)
class _Case:
    """One setup to check against a GPU."""

    shape: ModelShape
    setup: TrainingSetup
    gpu: AvailableGpu
    memory: MemoryEstimate
    estimate: Estimate
    smaller: Sequence[tuple[str, ModelShape]]
    spread: LengthDistribution | None
    cards: Sequence[GpuSpec]
    group: Group

    def check(self) -> Fit:
        judged = judge_fit(self.memory, self.gpu)
        changes = () if judged == "fits" else tuple(self._find_changes(judged))
        sentence, together = _describe(self.memory, self.gpu, judged), None
        if judged == "does not fit":
            together, suggestion = self._share()
            sentence = _join(sentence, self._describe_changes(changes), suggestion)
        return Fit(
            gpu=self.gpu, verdict=judged, memory=self.memory, changes=changes, sharded=together,
            sentence=sentence,
        )  # fmt: skip

    def _share(self) -> tuple[Sharded | None, str]:
        """Return how many such GPUs fit it when sharded, as it is or with the lowest setup."""
        for setup in (self.setup, self._lowest()):
            smallest = find_fewest_gpus(self.shape, setup, self.gpu.memory)
            if smallest is None or (self.group.sharded and smallest.cards <= self.group.size):
                continue
            peak, details = smallest.memory.peak, ""
            if setup != self.setup:
                rows = format_count(setup.rows, setup.row_unit)
                details = (
                    f" ({METHOD_NAMES[setup.method]}, {rows} of {setup.length:,} tokens per pass)"
                )
            return smallest, (
                f"Sharded over {smallest.cards} such GPUs{details}, each would need roughly "
                f"{format_byte_range(peak.lowest, peak.highest)}: set where.processes to {smallest.cards} and "
                "where.parallel to fsdp."
            )
        return None, ""

    def _find_changes(self, now: Verdict) -> Iterator[MemorySaving]:
        """Yield changes that surely fit; if none does, those that make it at least tight."""
        fits: FitTest = lambda need: judge_fit(need, self.gpu) == "fits"
        may: FitTest = lambda need: judge_fit(need, self.gpu) != "does not fit"
        tests = [fits] if now == "tight" else [fits, may]
        for test in tests:
            results = search(self.setup, self.estimate, test, spread=self.spread)
            for setup, memory in results:
                yield self._change(setup, memory)
            if results:
                break
        for test in tests:
            if smaller := self._find_smaller_model(test):
                yield smaller
                break

    def _change(self, setup: TrainingSetup, memory: MemoryEstimate) -> MemorySaving:
        new = changed_settings(self.setup, setup)
        description, costs = describe_changes(self.setup, setup, self.spread)
        # Accumulation follows the batch, and alpha the rank: neither counts as a separate change.
        along = ("gradient_accumulation", "alpha")
        names = [f"recipe.{name}" for name in new if name not in along]
        if setup.head != self.setup.head:
            names.insert(0, "trl")
        return MemorySaving(
            setting=", ".join(names), settings=new, description=description, setup=setup, memory=memory,
            verdict=judge_fit(memory, self.gpu), costs=costs,
        )  # fmt: skip

    def _find_smaller_model(self, enough: FitTest) -> MemorySaving | None:
        """Return the first smaller model that fits with the same settings."""
        for name, shape in self.smaller:
            if shape.parameters >= self.shape.parameters:
                continue
            try:
                memory = estimate_each(shape, self.setup, self.group)
            except FtwizardError:  # it lacks the requested target modules
                continue
            if enough(memory):
                return MemorySaving(
                    setting="model", description=f"train {make_visible(name, 60)} instead", setup=None,
                    memory=memory, verdict=judge_fit(memory, self.gpu), costs="a less capable model",
                )  # fmt: skip
        return None

    def _describe_changes(self, changes: Sequence[MemorySaving]) -> str:
        own = [change.setup for change in changes if change.setup is not None]
        if not own:
            return self._describe_lowest()
        several = ""
        if len(list(changed(self.setup, own[0], self.spread))) > 1:
            several = "No single change is enough, but several together are."
        return _join(several, _suggest_cards("As it is, ", self.memory, self.cards))

    def _lowest(self) -> TrainingSetup:
        """Return the setup with the lowest memory for the same row length."""
        rank = min(self.setup.rank, TrainingSetup(method="lora").rank)
        return minimize_memory(msgspec.structs.replace(self.setup, rank=rank), self.estimate)

    def _describe_lowest(self) -> str:
        """Describe the lowest possible memory, if no change is enough."""
        lowest = self._lowest()
        need = self.estimate(lowest)
        sentence = (
            f"No change makes this model fit: even {METHOD_NAMES[lowest.method]} with "
            f"{format_count(lowest.rows, lowest.row_unit)} of {lowest.length:,} tokens per pass needs "
            f"{format_bytes(need.peak.value)}, including {format_bytes(need.parts['weights'].value)} of weights."
        )
        larger = "" if self.cards and not find_large_enough(need, self.cards) else "a larger GPU, "
        rest = f"Use {larger}a smaller model or a hosted provider."
        return _join(sentence, _suggest_cards("For that, ", need, self.cards), rest)


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _describe(memory: MemoryEstimate, gpu: AvailableGpu, judged: Verdict) -> str:
    """Describe a verdict with the needed and the available memory."""
    peak, name = memory.peak, make_visible(gpu.name, 60)
    needs = format_byte_range(peak.lowest, peak.highest)
    has = f"{name} has {format_bytes(gpu.free)}"
    if not gpu.used and gpu.memory >= GIB:  # as GPUs are sold
        has += f" ({gpu.memory / GIB:.3g} GiB)"
    if gpu.used:
        has += f" free ({format_bytes(min(gpu.used, gpu.memory))} in use)"
    if judged == "fits":
        return f"It fits: it needs {needs}, and {has}."
    if judged == "tight":
        return f"It is tight: it needs {needs}, and {has}. Measure it with ftwizard probe."
    return f"It does not fit: it needs {needs}, but {has}."


def _suggest_cards(prefix: str, memory: MemoryEstimate, cards: Sequence[GpuSpec]) -> str:
    """Suggest GPUs that are large enough; empty if ``cards`` is."""
    if not cards:
        return ""
    enough = find_large_enough(memory, cards)
    if not enough:
        return f"{prefix}no known single GPU is large enough."
    names = " or ".join(card.name for card in enough)
    return f"{prefix}a GPU with {enough[0].memory:g} GB is large enough ({names})."


def _scale_memory(memory: MemoryEstimate, factor: float) -> MemoryEstimate:
    """Scale up an estimate that the ledger's count of tensors has shown to be too low."""
    if factor == 1.0:
        return memory
    figures = {name: _scale(figure, factor) for name, figure in memory.parts.items()}
    return msgspec.structs.replace(memory, parts=figures, peak=_scale(memory.peak, factor))


def _scale(figure: Figure, factor: float) -> Figure:
    return figure.scaled(factor, f"{figure.source}, scaled up to the tensor count")
