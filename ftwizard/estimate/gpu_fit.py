"""Fit check of a run against GPUs, with changes that make it fit and larger alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.errors import FtwizardError
from ftwizard.estimate import sharded
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import GIB, MemoryEstimate, estimate_memory
from ftwizard.estimate.memory_savings import (
    Estimate,
    FitTest,
    changed_settings,
    describe_changes,
    minimize_memory,
    search,
    upper_peak,
)
from ftwizard.estimate.sharded import Sharded
from ftwizard.estimate.training_setup import (
    FTWIZARD_OVERHEAD,
    METHOD_NAMES,
    FrameworkOverhead,
    TrainingSetup,
)
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
    """The fit of a run on one GPU."""

    gpu: AvailableGpu
    verdict: Verdict
    memory: MemoryEstimate
    changes: tuple[MemorySaving, ...] = ()
    """Changes that each make it fit, or at least tight if nothing makes it fit; cheapest first.
    Single changes if one is enough, else combinations. Empty if it fits."""
    sharded: Sharded | None = None
    """The fewest GPUs like this one that fit the model when sharded; None if it fits on one, or not
    even on 8. ftwizard does not shard: this is for other launchers."""
    sentence: str
    """Description of the verdict and of alternatives."""


def judge_fit(memory: MemoryEstimate, gpu: AvailableGpu) -> Verdict:
    """Judge an estimate against the free memory of a GPU."""
    return judge_bytes(memory.peak.value, upper_peak(memory), gpu.free)


def judge_bytes(likely: float, high: float, free: float) -> Verdict:
    """Return ``fits`` if even the ``high`` need fits, ``tight`` if only the ``likely`` one does."""
    return "fits" if high <= free else "tight" if likely <= free else "does not fit"


def check_fit(
    shape: ModelShape,
    setup: TrainingSetup,
    gpus: Iterable[AvailableGpu],
    *,
    smaller: Iterable[tuple[str, ModelShape]] = (),
    counted: MemoryEstimate | None = None,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
    spread: LengthDistribution | None = None,
    cards: Sequence[GpuSpec] = (),
) -> tuple[Fit, ...]:
    """Return one ``Fit`` per GPU, each for the whole model on that GPU.

    ``smaller``: alternative models by name, best first; ``counted``: memory of exactly this setup
    from the ledger; ``spread``: row lengths, to count truncated rows; ``cards``: GPUs that may be
    suggested. Raises FtwizardError as ``estimate`` does.
    """
    worked_out = estimate_memory(shape, setup, stack=stack)
    memory = counted or worked_out
    factor = max(1.0, memory.peak.value / worked_out.peak.value)

    def again(candidate: TrainingSetup) -> MemoryEstimate:
        return _scale_memory(estimate_memory(shape, candidate, stack=stack), factor)

    case = _Case(shape, setup, memory, again, list(smaller), stack, spread, cards)
    return tuple(case.check(gpu) for gpu in gpus)


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
    """Return up to two of the smallest GPUs that surely fit this memory.

    Sizes as sold (GB, 10⁹ bytes) never exceed the real memory.
    """
    enough = [
        card
        for card in cards
        if judge_fit(memory, AvailableGpu(name="", memory=card.memory * 1e9)) == "fits"
    ]
    smallest = min((card.memory for card in enough), default=0.0)
    return tuple(card for card in enough if card.memory == smallest)[:2]


class _Case:
    """One setup to check against GPUs."""

    def __init__(
        self, shape: ModelShape, setup: TrainingSetup, memory: MemoryEstimate, again: Estimate,
        smaller: list[tuple[str, ModelShape]], stack: FrameworkOverhead, spread: LengthDistribution | None,
        cards: Sequence[GpuSpec],
    ) -> None:  # fmt: skip
        self._shape = shape
        self._setup = setup
        self._memory = memory
        self._again = again
        self._smaller = smaller
        self._stack = stack
        self._spread = spread
        self._cards = cards

    def check(self, gpu: AvailableGpu) -> Fit:
        judged = judge_fit(self._memory, gpu)
        changes = () if judged == "fits" else tuple(self._changes(gpu, judged))
        sentence, together = self._sentence(gpu, judged, changes), None
        if judged == "does not fit":
            together, suggestion = self._together(gpu)
            sentence = _join(sentence, suggestion)
        return Fit(
            gpu=gpu,
            verdict=judged,
            memory=self._memory,
            changes=changes,
            sharded=together,
            sentence=sentence,
        )

    def _together(self, gpu: AvailableGpu) -> tuple[Sharded | None, str]:
        """Return how many GPUs like ``gpu`` fit it when sharded, as it is or with the lowest setup."""
        for setup in (self._setup, self._lowest()):
            smallest = sharded.find_fewest_gpus(self._shape, setup, gpu.memory, stack=self._stack)
            if smallest is None:
                continue
            peak, details = smallest.memory.peak, ""
            if setup != self._setup:
                rows = format_count(setup.batch_size, "row")
                details = (
                    f" ({METHOD_NAMES[setup.method]}, {rows} of {setup.length:,} tokens per pass)"
                )
            return smallest, (
                f"Sharded over {smallest.cards} such GPUs{details}, each would need roughly "
                f"{format_byte_range(peak.low or 0, peak.high or 0)}. ftwizard trains on one GPU; for sharding "
                "use FSDP with accelerate launch."
            )
        return None, ""

    def _changes(self, gpu: AvailableGpu, now: Verdict) -> Iterator[MemorySaving]:
        """Yield changes that surely fit; if none does, those that make it at least tight."""
        fits: FitTest = lambda need: judge_fit(need, gpu) == "fits"
        may: FitTest = lambda need: judge_fit(need, gpu) != "does not fit"
        tests = [fits] if now == "tight" else [fits, may]
        for test in tests:
            results = search(self._setup, self._again, test, spread=self._spread)
            for setup, memory in results:
                yield self._change(setup, memory, gpu)
            if results:
                break
        for test in tests:
            if smaller := self._instead(gpu, test):
                yield smaller
                break

    def _change(
        self, setup: TrainingSetup, memory: MemoryEstimate, gpu: AvailableGpu
    ) -> MemorySaving:
        new = changed_settings(self._setup, setup)
        description, costs = describe_changes(self._setup, setup, self._spread)
        # Accumulation follows the batch, and alpha the rank: neither counts as a separate change.
        along = ("gradient_accumulation", "alpha")
        names = [f"recipe.{name}" for name in new if name not in along]
        if setup.head != self._setup.head:
            names.insert(0, "trl")
        return MemorySaving(
            setting=", ".join(names), settings=new, description=description, setup=setup, memory=memory,
            verdict=judge_fit(memory, gpu), costs=costs,
        )  # fmt: skip

    def _instead(
        self, gpu: AvailableGpu, enough: Callable[[MemoryEstimate], bool]
    ) -> MemorySaving | None:
        """Return the first smaller model that fits with the same settings."""
        for name, shape in self._smaller:
            if shape.parameters >= self._shape.parameters:
                continue
            try:
                memory = estimate_memory(shape, self._setup, stack=self._stack)
            except FtwizardError:  # it lacks the requested target modules
                continue
            if enough(memory):
                return MemorySaving(
                    setting="model",
                    description=f"train {make_visible(name, 60)} instead",
                    setup=None,
                    memory=memory,
                    verdict=judge_fit(memory, gpu),
                    costs="a less capable model",
                )
        return None

    def _sentence(self, gpu: AvailableGpu, judged: Verdict, changes: Sequence[MemorySaving]) -> str:
        sentence = _describe(self._memory, gpu, judged)
        if judged != "does not fit":
            return sentence
        own = [change for change in changes if change.setup is not None]
        if not own:
            return f"{sentence} {self._nothing()}"
        if len(set(own[0].setting.split(", "))) > 1:
            sentence += " No single change is enough, but several together are."
        return _join(sentence, _suggest_cards("As it is, ", self._memory, self._cards))

    def _lowest(self) -> TrainingSetup:
        """Return the setup with the lowest memory for the same row length."""
        rank = min(self._setup.rank, TrainingSetup(method="lora").rank)
        return minimize_memory(msgspec.structs.replace(self._setup, rank=rank), self._again)

    def _nothing(self) -> str:
        """Describe the lowest possible memory, if no change is enough."""
        lowest = self._lowest()
        need = self._again(lowest)
        sentence = (
            f"No change makes this model fit: even {METHOD_NAMES[lowest.method]} with "
            f"{format_count(lowest.batch_size, 'row')} of {lowest.length:,} tokens per pass needs "
            f"{format_bytes(need.peak.value)}, including {format_bytes(need.parts['weights'].value)} of weights."
        )
        larger = (
            "" if self._cards and not find_large_enough(need, self._cards) else "a larger GPU, "
        )
        rest = f"Use {larger}a smaller model or a hosted provider."
        return _join(sentence, _suggest_cards("For that, ", need, self._cards), rest)


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _describe(memory: MemoryEstimate, gpu: AvailableGpu, judged: Verdict) -> str:
    """Describe a verdict with the needed and the available memory."""
    peak, name = memory.peak, make_visible(gpu.name, 60)
    low = peak.value if peak.low is None else peak.low
    needs = format_byte_range(low, upper_peak(memory))
    has = f"{name} has {format_bytes(gpu.free)}{_format_gib(gpu)}"
    if gpu.used:
        has += f" free ({format_bytes(min(gpu.used, gpu.memory))} in use)"
    if judged == "fits":
        return f"It fits: it needs {needs}, and {has}."
    if judged == "tight":
        return f"It is tight: it needs {needs}, and {has}. Measure it with ftwizard probe."
    return f"It does not fit: it needs {needs}, but {has}."


def _format_gib(gpu: AvailableGpu) -> str:
    """Format the size in GiB, as GPUs are sold, if all of it is free."""
    return "" if gpu.used or gpu.memory < GIB else f" ({gpu.memory / GIB:.3g} GiB)"


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
    parts = {name: _scale_figure(figure, factor) for name, figure in memory.parts.items()}
    return msgspec.structs.replace(memory, parts=parts, peak=_scale_figure(memory.peak, factor))


def _scale_figure(figure: Figure, factor: float) -> Figure:
    return Figure(
        value=figure.value * factor,
        unit=figure.unit,
        low=None if figure.low is None else figure.low * factor,
        high=None if figure.high is None else figure.high * factor,
        source=f"{figure.source}, scaled up to the tensor count",
        as_of=figure.as_of,
    )
