"""Time: of the training from earlier runs or a probe, else from the card; and of what is around it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from ftwizard.catalog.gpus import Card
from ftwizard.estimate import throughput
from ftwizard.estimate.batches import Passes
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.figure import Figure, oldest, today
from ftwizard.text import plural

SPREAD = 1.5
"""Low and high are the middle divided and multiplied by this where one run alone is known, and
where a card's time is worked out: published rows of 1,024 tokens a pass and more keep within it."""
SHORT = 2.0
"""The same upwards where starting kernels takes longer than computing them: it goes by the
processor beside the card, which is not known."""
MIXTURE = 2.5
"""The same for mixtures of experts, whose products are small and in kernels that differ much."""
PROBED = 1.2
"""The same for what a probe measured, at a few batches of one length."""
PROCESSORS = 3.0
"""The same for processors: caches, memory and libraries differ more than their number tells."""
CORE_GFLOPS = {"bf16": 55.0, "fp32": 36.0}
"""10⁹ products and sums a second of one core. Measured: LoRA of SmolLM2-135M at 4 rows of 62 tokens,
on two AVX-512 cores, 102 tokens a core and second in bf16, 67 in fp32, of 0.54 × 10⁹ each."""
READ_S = 1e-9
"""Seconds a byte of weights that are read from a disk and put on a card: 1 GB a second, about what
one NVMe disk and the page cache lie around."""
WRITE_S = 2e-9
"""Seconds a byte that is written and flushed."""
DISKS = 4.0
"""A network disk is this many times as slow, a warm page cache as many times as fast."""
AS_OF = "2026-11"
"""When what is said here to be measured was."""
START_S = 25.0
"""Importing the libraries, reading and encoding a few thousand rows. Measured: 6.4 s on an idle
machine, up to 70 s on a busy one."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast an earlier run was."""

    run: str
    tokens_per_s: float
    """Over its last steps, evaluations included."""
    as_of: str | None = None
    """The day on which it last trained."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does besides training; sizes in bytes."""

    weights: float
    """Of the base model, as it is read."""
    checkpoint: float
    evaluations: int = 0
    evaluated: float = 0.0
    """Tokens of the validation rows, padding included."""
    merged: float = 0.0
    """Of the merged model, 0 where none is written."""


def training(tokens: float, speeds: Iterable[Speed]) -> Figure | None:
    """Return the seconds that training on ``tokens`` takes, None before a run to learn from."""
    known = [speed for speed in speeds if speed.tokens_per_s > 0]
    if not known:
        return None
    rates = [speed.tokens_per_s for speed in known]
    middle = statistics.median(rates)
    fast, slow = max(*rates, middle * SPREAD), min(*rates, middle / SPREAD)
    names = ", ".join(speed.run for speed in known[-3:])
    return Figure(
        value=tokens / middle,
        unit="s",
        low=tokens / fast,
        high=tokens / slow,
        source=f"at the speed of earlier runs of this model here: {names}; loading, merging and "
        "comparing come on top",
        as_of=oldest(speed.as_of for speed in known) or today(),
    )


def measured(
    tokens: float, tokens_per_s: float, source: str, *, as_of: str | None = None
) -> Figure | None:
    """Return the seconds of training on ``tokens`` at a speed that a probe, or the first steps of
    a run, measured; ``source`` says which, ``as_of`` on which day (None: today). ``tokens`` and the
    speed count padding alike.

    None where nothing was measured.
    """
    if not tokens_per_s > 0:
        return None
    return _around(tokens / tokens_per_s, PROBED, PROBED, f"measured: {source}", as_of or today())


def expected(shape: Shape, setup: Setup, card: Card | None, work: Passes) -> Figure | None:
    """Return the seconds of the training on one card, before anything was measured.

    None where the card is not known. Source: ``throughput``.
    """
    if card is None or not work.passes:
        return None
    one = throughput.pass_seconds(shape, setup, card, tokens=work.each, attended=work.attended)
    step = throughput.step_seconds(shape, setup, card)
    seconds = work.passes * one + work.steps * step
    launching = one <= throughput.launch_seconds(shape, setup)
    mixed = any(linear.active < linear.count for linear in shape.linears)
    high = MIXTURE if mixed else SHORT if launching else SPREAD
    return _around(
        seconds,
        MIXTURE if mixed else SPREAD,
        high,
        _reason(setup, card, work, launching),
        card.as_of,
    )


def _reason(setup: Setup, card: Card, work: Passes, launching: bool) -> str:
    each = f"{plural(round(work.each), 'token')} a pass"
    if launching:
        each += ", so few that starting kernels takes longer than computing them"
    kind = " in fp32" if setup.precision == "fp32" else ""
    return (
        f"{card.name}: {throughput.peak(setup, card):g} TFLOPS{kind} and {card.bandwidth:,g} GB/s ({card.source}), {each}; "
        "the first steps will tell"
    )


def on_processors(
    shape: Shape, setup: Setup, work: Passes, *, cores: int, bf16: bool
) -> Figure | None:
    """Return the seconds of the training on ``cores`` processors, very roughly; None without any."""
    if cores < 1:
        return None
    kind = "bf16" if bf16 and setup.precision != "fp32" else "fp32"
    flops = throughput.flops_a_token(shape, setup, work.attended)
    seconds = (work.tokens + work.padding) * flops / (cores * CORE_GFLOPS[kind] * 1e9)
    return _around(
        seconds,
        PROCESSORS,
        PROCESSORS,
        f"very roughly: {plural(cores, 'processor')} at {CORE_GFLOPS[kind]:g} GFLOPS in {kind}, "
        "as two were measured on a model of 135 million; the first steps will tell",
    )


def parts(
    training: Figure, shape: Shape, setup: Setup, card: Card | None, work: Passes, around: Around
) -> dict[str, Figure]:
    """Return the seconds by part: ``starting``, ``loading``, ``training``, ``evaluations``,
    ``checkpoints``, ``merging``; what does not happen is left out.

    An evaluation takes of the training's time, token by token, what its forward pass is of a
    pass there and back; so a training that was measured also says how long evaluations take.
    """
    found = {
        "starting": _around(START_S, 4, 3, "libraries and rows; measured: 6 to 70 s"),
        "loading": _around(around.weights * READ_S, DISKS, DISKS, "about 1 GB a second"),
        "training": training,
    }
    if around.evaluations and around.evaluated:
        share = _forward_share(shape, setup, card, work)
        tokens = around.evaluations * around.evaluated / (work.tokens + work.padding)
        found["evaluations"] = scaled(
            training,
            share * tokens,
            f"{plural(around.evaluations, 'evaluation')} of "
            f"{plural(round(around.evaluated), 'token')}, forward only",
        )
    saves = max(1, around.evaluations)
    if around.checkpoint:
        found["checkpoints"] = _around(
            saves * around.checkpoint * WRITE_S, DISKS, DISKS,
            f"{plural(saves, 'checkpoint')}, about 0.5 GB a second",
        )  # fmt: skip
    if around.merged:
        seconds = around.weights * READ_S + around.merged * WRITE_S
        found["merging"] = _around(seconds, DISKS, DISKS, "the base read, the merged model written")
    return found


def _forward_share(shape: Shape, setup: Setup, card: Card | None, work: Passes) -> float:
    if card is None:
        return 1 / (2 + setup.checkpointing + (setup.method == "full"))
    both, forward = (
        throughput.pass_seconds(
            shape, setup, card, tokens=work.each, attended=work.attended, forward=one_way
        )
        for one_way in (False, True)
    )
    return forward / both


def total(parts: Mapping[str, Figure]) -> Figure:
    """Return the seconds of all parts together."""
    return Figure(
        value=sum(one.value for one in parts.values()),
        unit="s",
        low=sum(one.value if one.low is None else one.low for one in parts.values()),
        high=sum(one.value if one.high is None else one.high for one in parts.values()),
        source=" + ".join(parts),
        as_of=oldest(one.as_of for one in parts.values()),
    )


def scaled(figure: Figure, factor: float, source: str) -> Figure:
    """Return a figure times ``factor``, range and all."""
    return msgspec.structs.replace(
        figure,
        value=figure.value * factor,
        low=None if figure.low is None else figure.low * factor,
        high=None if figure.high is None else figure.high * factor,
        source=source,
    )


def _around(value: float, down: float, up: float, source: str, as_of: str = AS_OF) -> Figure:
    return Figure(
        value=value, unit="s", low=value / down, high=value * up, source=source, as_of=as_of
    )
