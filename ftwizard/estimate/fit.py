"""Whether a run fits the GPUs that are there, what makes it fit, and what else would hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.catalog.gpus import Card
from ftwizard.errors import FtwizardError
from ftwizard.estimate import sharded
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.changes import Estimate, Fits, highest, least, search, settings, words
from ftwizard.estimate.memory import GIB, Memory, estimate
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.sharded import Sharded
from ftwizard.estimate.stack import OURS, Stack
from ftwizard.figure import Figure
from ftwizard.text import plural, size, sizes, visible

Verdict = Literal["fits", "tight", "does not fit"]
_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU that is there."""

    name: str
    memory: float
    """Bytes."""
    used: float = 0.0
    """Bytes that others use now."""

    @property
    def free(self) -> float:
        """Return the bytes that a run can have."""
        return max(0.0, self.memory - self.used)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What would be different, and what it would take then."""

    setting: str
    """The plan's name of it: ``recipe.max_length``; several with commas; ``model`` for a smaller
    model, ``trl`` for a newer library."""
    settings: dict[str, Any] = {}
    """New values by the recipe's names; empty for a smaller model and a newer library."""
    words: str
    setup: Setup | None
    """With the change; None for a smaller model."""
    memory: Memory
    verdict: Verdict
    costs: str
    """What one gives up."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A run against one GPU."""

    gpu: Gpu
    verdict: Verdict
    memory: Memory
    changes: tuple[Change, ...] = ()
    """Each makes it fit, or at least tight where nothing makes it fit; least costly first. Single
    changes, where one is enough; else two or more together. None where it fits."""
    sharded: Sharded | None = None
    """The fewest cards like it that hold the model together, where this one does not; None too
    where 8 do not. Nothing here shards: it is what another launcher would need."""
    sentence: str
    """The verdict in words, and what else would hold it."""


def verdict(memory: Memory, gpu: Gpu) -> Verdict:
    """Return ``fits`` if even the high end fits, ``tight`` if the middle does."""
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
    """Return one ``Fit`` a GPU; each is asked to hold the whole model.

    ``smaller`` are models by name that could be trained instead, the most wanted first; ``counted``
    is the memory of this very setup where a ledger has counted it; ``spread`` are the lengths of
    the rows, so that it can be said how many a shorter length cuts; ``cards`` are those that may
    be named instead. Raises FtwizardError as ``estimate`` does.
    """
    worked_out = estimate(shape, setup, stack=stack)
    memory = counted or worked_out
    factor = max(1.0, memory.peak.value / worked_out.peak.value)

    def again(one: Setup) -> Memory:
        return _scaled(estimate(shape, one, stack=stack), factor)

    case = _Case(shape, setup, memory, again, list(smaller), stack, spread, cards)
    return tuple(case.against(gpu) for gpu in gpus)


def by_count(memory: Memory, gpu: Gpu, *, cards: Sequence[Card] = ()) -> Fit:
    """Return a run against one GPU by a count of its memory alone: nothing is known of the model's
    layers, so neither are changes that would make it fit.

    ``cards`` are those that may be named instead.
    """
    found = verdict(memory, gpu)
    said = _judged(memory, gpu, found)
    if found == "does not fit":
        said = " ".join(filter(None, (said, _held("As it is, ", memory, cards))))
    return Fit(gpu=gpu, verdict=found, memory=memory, sentence=said)


def holders(memory: Memory, cards: Sequence[Card]) -> tuple[Card, ...]:
    """Return the smallest cards that surely hold so much, up to two of one size.

    A card tells the gigabytes (10⁹) that it is sold with, which is never more than it has.
    """
    enough = [
        one for one in cards if verdict(memory, Gpu(name="", memory=one.memory * 1e9)) == "fits"
    ]
    smallest = min((one.memory for one in enough), default=0.0)
    return tuple(one for one in enough if one.memory == smallest)[:2]


class _Case:
    """One setup, to be held against GPUs."""

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

    def against(self, gpu: Gpu) -> Fit:
        found = verdict(self._memory, gpu)
        changes = () if found == "fits" else tuple(self._changes(gpu, found))
        sentence, together = self._sentence(gpu, found, changes), None
        if found == "does not fit":
            together, said = self._together(gpu)
            sentence = " ".join(filter(None, (sentence, said)))
        return Fit(
            gpu=gpu,
            verdict=found,
            memory=self._memory,
            changes=changes,
            sharded=together,
            sentence=sentence,
        )

    def _together(self, gpu: Gpu) -> tuple[Sharded | None, str]:
        """Return how many cards like ``gpu`` hold it together, as it is or else at the least."""
        for setup in (self._setup, self._lowest()):
            found = sharded.fewest(self._shape, setup, gpu.memory, stack=self._stack)
            if found is None:
                continue
            peak, way = found.memory.peak, ""
            if setup != self._setup:
                rows = plural(setup.batch_size, "row")
                way = f" ({_METHODS[setup.method]}, {rows} of {setup.length:,} tokens a pass)"
            return found, (
                f"Sharded over {found.cards} such cards{way}, each would hold "
                f"{sizes(peak.low or 0, peak.high or 0)}, roughly; ftwizard trains on one GPU, and "
                "FSDP by accelerate launch shards."
            )
        return None, ""

    def _changes(self, gpu: Gpu, now: Verdict) -> Iterator[Change]:
        """Yield what surely fits; where nothing does, what is tight if it is not now."""
        fits: Fits = lambda one: verdict(one, gpu) == "fits"
        may: Fits = lambda one: verdict(one, gpu) != "does not fit"
        tests = [fits] if now == "tight" else [fits, may]
        for test in tests:
            found = search(self._setup, self._again, test, spread=self._spread)
            for setup, memory in found:
                yield self._change(setup, memory, gpu)
            if found:
                break
        for test in tests:
            if other := self._instead(gpu, test):
                yield other
                break

    def _change(self, setup: Setup, memory: Memory, gpu: Gpu) -> Change:
        new = settings(self._setup, setup)
        what, costs = words(self._setup, setup, self._spread)
        # Accumulation goes with the batch, and alpha with the rank: neither is a change of its own.
        along = ("gradient_accumulation", "alpha")
        names = [f"recipe.{name}" for name in new if name not in along]
        if setup.head != self._setup.head:
            names.insert(0, "trl")
        return Change(
            setting=", ".join(names), settings=new, words=what, setup=setup, memory=memory,
            verdict=verdict(memory, gpu), costs=costs,
        )  # fmt: skip

    def _instead(self, gpu: Gpu, enough: Callable[[Memory], bool]) -> Change | None:
        """Return the first smaller model that is enough with the same settings."""
        for name, other in self._smaller:
            if other.parameters >= self._shape.parameters:
                continue
            try:
                memory = estimate(other, self._setup, stack=self._stack)
            except FtwizardError:  # it lacks the targets that are asked for
                continue
            if enough(memory):
                return Change(
                    setting="model",
                    words=f"train {visible(name, 60)} instead",
                    setup=None,
                    memory=memory,
                    verdict=verdict(memory, gpu),
                    costs="a smaller model knows and can do less",
                )
        return None

    def _sentence(self, gpu: Gpu, found: Verdict, changes: Sequence[Change]) -> str:
        said = _judged(self._memory, gpu, found)
        if found != "does not fit":
            return said
        own = [one for one in changes if one.setup is not None]
        if not own:
            return f"{said} {self._nothing()}"
        if len(set(own[0].setting.split(", "))) > 1:
            said += " No single change is enough; several together are."
        return " ".join(filter(None, (said, _held("As it is, ", self._memory, self._cards))))

    def _lowest(self) -> Setup:
        """Return what needs least, with rows as long."""
        rank = min(self._setup.rank, Setup(method="lora").rank)
        return least(msgspec.structs.replace(self._setup, rank=rank), self._again)

    def _nothing(self) -> str:
        """Say what the least would take, where no change is enough."""
        lowest = self._lowest()
        need = self._again(lowest)
        said = (
            f"Nothing makes this model fit there: {_METHODS[lowest.method]} with "
            f"{plural(lowest.batch_size, 'row')} of {lowest.length:,} tokens a pass takes "
            f"{size(need.peak.value)}, of which {size(need.parts['weights'].value)} are weights."
        )
        held = _held("For that, ", need, self._cards)
        larger = "" if self._cards and not holders(need, self._cards) else "a larger GPU, "
        rest = f"It takes {larger}a smaller model, or a hosted path."
        return " ".join(filter(None, (said, held, rest)))


def _judged(memory: Memory, gpu: Gpu, found: Verdict) -> str:
    """Return the verdict in words, with what it needs and what there is."""
    peak, name = memory.peak, visible(gpu.name, 60)
    low = peak.value if peak.low is None else peak.low
    needs = sizes(low, highest(memory))
    has = f"{name} has {size(gpu.free)}{_as_sold(gpu)}"
    if gpu.used:
        has += f" free ({size(min(gpu.used, gpu.memory))} are in use)"
    if found == "fits":
        return f"It fits: it needs {needs}, and {has}."
    if found == "tight":
        return f"It is tight: it needs {needs}, and {has}. ftwizard probe measures it."
    return f"It does not fit: it needs {needs}, and {has}."


def _as_sold(gpu: Gpu) -> str:
    """Say the size in GiB, by which a card is sold, where all of it is free."""
    return "" if gpu.used or gpu.memory < GIB else f" ({gpu.memory / GIB:.3g} GiB)"


def _held(what: str, memory: Memory, cards: Sequence[Card]) -> str:
    """Say which cards hold it; nothing where no cards are to be named."""
    if not cards:
        return ""
    found = holders(memory, cards)
    if not found:
        return f"{what}no single card that is known is large enough."
    names = " or ".join(one.name for one in found)
    return f"{what}a card of {found[0].memory:g} GB is large enough ({names})."


def _scaled(memory: Memory, factor: float) -> Memory:
    """Return what is worked out, raised as a count of tensors has shown it to be too low."""
    if factor == 1.0:
        return memory
    parts = {name: _raised(one, factor) for name, one in memory.parts.items()}
    return msgspec.structs.replace(memory, parts=parts, peak=_raised(memory.peak, factor))


def _raised(one: Figure, factor: float) -> Figure:
    return Figure(
        value=one.value * factor,
        unit=one.unit,
        low=None if one.low is None else one.low * factor,
        high=None if one.high is None else one.high * factor,
        source=f"{one.source}, and raised as counting tensors showed",
        as_of=one.as_of,
    )
