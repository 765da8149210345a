"""Fit check of a run against GPUs, with changes that make it fit and larger alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.catalog.gpu_specs import Card
from ftwizard.errors import FtwizardError
from ftwizard.estimate import sharded
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.memory import GIB, Memory, estimate
from ftwizard.estimate.memory_savings import Estimate, Fits, highest, least, search, settings, words
from ftwizard.estimate.sharded import Sharded
from ftwizard.estimate.training_setup import OURS, Setup, Stack
from ftwizard.models.shapes import Shape
from ftwizard.quantity import Figure
from ftwizard.text import plural, size, sizes, visible

Verdict = Literal["fits", "tight", "does not fit"]
_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
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


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the plan that reduces memory."""

    setting: str
    """Its name in the plan, such as ``recipe.max_length``, or several separated by commas; ``model``
    for a smaller model, ``trl`` for a newer library."""
    settings: dict[str, Any] = {}
    """New values by recipe name; empty for a smaller model and a newer library."""
    words: str
    setup: Setup | None
    """With the change; None for a smaller model."""
    memory: Memory
    verdict: Verdict
    costs: str
    """Description of its cost."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The fit of a run on one GPU."""

    gpu: Gpu
    verdict: Verdict
    memory: Memory
    changes: tuple[Change, ...] = ()
    """Changes that each make it fit, or at least tight if nothing makes it fit; cheapest first.
    Single changes if one is enough, else combinations. Empty if it fits."""
    sharded: Sharded | None = None
    """The fewest GPUs like this one that fit the model when sharded; None if it fits on one, or not
    even on 8. ftwizard does not shard: this is for other launchers."""
    sentence: str
    """Description of the verdict and of alternatives."""


def verdict(memory: Memory, gpu: Gpu) -> Verdict:
    """Return ``fits`` if even the upper estimate fits, ``tight`` if only the likely one does."""
    if highest(memory) <= gpu.free:
        return "fits"
    return "tight" if memory.peak.value <= gpu.free else "does not fit"


def fit(
    shape: Shape,
    setup: Setup,
    gpus: Iterable[Gpu],
    *,
    smaller: Iterable[tuple[str, Shape]] = (),
    counted: Memory | None = None,
    stack: Stack = OURS,
    spread: Lengths | None = None,
    cards: Sequence[Card] = (),
) -> tuple[Fit, ...]:
    """Return one ``Fit`` per GPU, each for the whole model on that GPU.

    ``smaller``: alternative models by name, best first; ``counted``: memory of exactly this setup
    from the ledger; ``spread``: row lengths, to count truncated rows; ``cards``: GPUs that may be
    suggested. Raises FtwizardError as ``estimate`` does.
    """
    worked_out = estimate(shape, setup, stack=stack)
    memory = counted or worked_out
    factor = max(1.0, memory.peak.value / worked_out.peak.value)

    def again(candidate: Setup) -> Memory:
        return _scale_memory(estimate(shape, candidate, stack=stack), factor)

    case = _Case(shape, setup, memory, again, list(smaller), stack, spread, cards)
    return tuple(case.check(gpu) for gpu in gpus)


def by_count(memory: Memory, gpu: Gpu, *, cards: Sequence[Card] = ()) -> Fit:
    """Check the fit on one GPU from a memory count alone, without changes that would make it fit.

    ``cards``: GPUs that may be suggested.
    """
    judged = verdict(memory, gpu)
    sentence = _describe(memory, gpu, judged)
    if judged == "does not fit":
        sentence = _join(sentence, _suggest_cards("As it is, ", memory, cards))
    return Fit(gpu=gpu, verdict=judged, memory=memory, sentence=sentence)


def holders(memory: Memory, cards: Sequence[Card]) -> tuple[Card, ...]:
    """Return up to two of the smallest GPUs that surely fit this memory.

    Sizes as sold (GB, 10⁹ bytes) never exceed the real memory.
    """
    enough = [
        card for card in cards if verdict(memory, Gpu(name="", memory=card.memory * 1e9)) == "fits"
    ]
    smallest = min((card.memory for card in enough), default=0.0)
    return tuple(card for card in enough if card.memory == smallest)[:2]


class _Case:
    """One setup to check against GPUs."""

    def __init__(
        self, shape: Shape, setup: Setup, memory: Memory, again: Estimate,
        smaller: list[tuple[str, Shape]], stack: Stack, spread: Lengths | None,
        cards: Sequence[Card],
    ) -> None:  # fmt: skip
        self._shape = shape
        self._setup = setup
        self._memory = memory
        self._again = again
        self._smaller = smaller
        self._stack = stack
        self._spread = spread
        self._cards = cards

    def check(self, gpu: Gpu) -> Fit:
        judged = verdict(self._memory, gpu)
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

    def _together(self, gpu: Gpu) -> tuple[Sharded | None, str]:
        """Return how many GPUs like ``gpu`` fit it when sharded, as it is or with the lowest setup."""
        for setup in (self._setup, self._lowest()):
            smallest = sharded.fewest(self._shape, setup, gpu.memory, stack=self._stack)
            if smallest is None:
                continue
            peak, details = smallest.memory.peak, ""
            if setup != self._setup:
                rows = plural(setup.batch_size, "row")
                details = f" ({_METHODS[setup.method]}, {rows} of {setup.length:,} tokens per pass)"
            return smallest, (
                f"Sharded over {smallest.cards} such GPUs{details}, each would need roughly "
                f"{sizes(peak.low or 0, peak.high or 0)}. ftwizard trains on one GPU; for sharding "
                "use FSDP with accelerate launch."
            )
        return None, ""

    def _changes(self, gpu: Gpu, now: Verdict) -> Iterator[Change]:
        """Yield changes that surely fit; if none does, those that make it at least tight."""
        fits: Fits = lambda need: verdict(need, gpu) == "fits"
        may: Fits = lambda need: verdict(need, gpu) != "does not fit"
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

    def _change(self, setup: Setup, memory: Memory, gpu: Gpu) -> Change:
        new = settings(self._setup, setup)
        description, costs = words(self._setup, setup, self._spread)
        # Accumulation follows the batch, and alpha the rank: neither counts as a separate change.
        along = ("gradient_accumulation", "alpha")
        names = [f"recipe.{name}" for name in new if name not in along]
        if setup.head != self._setup.head:
            names.insert(0, "trl")
        return Change(
            setting=", ".join(names), settings=new, words=description, setup=setup, memory=memory,
            verdict=verdict(memory, gpu), costs=costs,
        )  # fmt: skip

    def _instead(self, gpu: Gpu, enough: Callable[[Memory], bool]) -> Change | None:
        """Return the first smaller model that fits with the same settings."""
        for name, shape in self._smaller:
            if shape.parameters >= self._shape.parameters:
                continue
            try:
                memory = estimate(shape, self._setup, stack=self._stack)
            except FtwizardError:  # it lacks the requested target modules
                continue
            if enough(memory):
                return Change(
                    setting="model",
                    words=f"train {visible(name, 60)} instead",
                    setup=None,
                    memory=memory,
                    verdict=verdict(memory, gpu),
                    costs="a less capable model",
                )
        return None

    def _sentence(self, gpu: Gpu, judged: Verdict, changes: Sequence[Change]) -> str:
        sentence = _describe(self._memory, gpu, judged)
        if judged != "does not fit":
            return sentence
        own = [change for change in changes if change.setup is not None]
        if not own:
            return f"{sentence} {self._nothing()}"
        if len(set(own[0].setting.split(", "))) > 1:
            sentence += " No single change is enough, but several together are."
        return _join(sentence, _suggest_cards("As it is, ", self._memory, self._cards))

    def _lowest(self) -> Setup:
        """Return the setup with the lowest memory for the same row length."""
        rank = min(self._setup.rank, Setup(method="lora").rank)
        return least(msgspec.structs.replace(self._setup, rank=rank), self._again)

    def _nothing(self) -> str:
        """Describe the lowest possible memory, if no change is enough."""
        lowest = self._lowest()
        need = self._again(lowest)
        sentence = (
            f"No change makes this model fit: even {_METHODS[lowest.method]} with "
            f"{plural(lowest.batch_size, 'row')} of {lowest.length:,} tokens per pass needs "
            f"{size(need.peak.value)}, including {size(need.parts['weights'].value)} of weights."
        )
        larger = "" if self._cards and not holders(need, self._cards) else "a larger GPU, "
        rest = f"Use {larger}a smaller model or a hosted provider."
        return _join(sentence, _suggest_cards("For that, ", need, self._cards), rest)


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _describe(memory: Memory, gpu: Gpu, judged: Verdict) -> str:
    """Describe a verdict with the needed and the available memory."""
    peak, name = memory.peak, visible(gpu.name, 60)
    low = peak.value if peak.low is None else peak.low
    needs = sizes(low, highest(memory))
    has = f"{name} has {size(gpu.free)}{_format_gib(gpu)}"
    if gpu.used:
        has += f" free ({size(min(gpu.used, gpu.memory))} in use)"
    if judged == "fits":
        return f"It fits: it needs {needs}, and {has}."
    if judged == "tight":
        return f"It is tight: it needs {needs}, and {has}. Measure it with ftwizard probe."
    return f"It does not fit: it needs {needs}, but {has}."


def _format_gib(gpu: Gpu) -> str:
    """Format the size in GiB, as GPUs are sold, if all of it is free."""
    return "" if gpu.used or gpu.memory < GIB else f" ({gpu.memory / GIB:.3g} GiB)"


def _suggest_cards(prefix: str, memory: Memory, cards: Sequence[Card]) -> str:
    """Suggest GPUs that are large enough; empty if ``cards`` is."""
    if not cards:
        return ""
    enough = holders(memory, cards)
    if not enough:
        return f"{prefix}no known single GPU is large enough."
    names = " or ".join(card.name for card in enough)
    return f"{prefix}a GPU with {enough[0].memory:g} GB is large enough ({names})."


def _scale_memory(memory: Memory, factor: float) -> Memory:
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
