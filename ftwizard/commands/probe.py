"""``probe``: a few real steps of a plan at its longest rows, measured."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftwizard import file_names, models, plan, probes
from ftwizard.commands import output, plan_file, progress
from ftwizard.data.new_file import new_file, require_free
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.figure import Figure
from ftwizard.paths import local, probing
from ftwizard.probes import Probe
from ftwizard.text import duration, plural, size, sizes, spans, visible

MOST_STEPS = 1000
"""More of them are a training."""


def probe(arguments: argparse.Namespace) -> int:
    """Measure memory and speed; write a plan with the batch that fits if asked to."""
    if not 1 <= arguments.steps <= MOST_STEPS:
        raise FtwizardError(
            f"--steps is {arguments.steps:,}; it takes 1 to {MOST_STEPS:,}.",
            "Leave it out for 3 steps: each is a real one, at the longest rows.",
            USAGE,
        )
    chosen = plan_file.load(arguments.plan, arguments.allow, later=("many-epochs",))
    local.check_installed(chosen)
    out = file_names.expand(arguments.write) if arguments.write else None
    if out:
        require_free(out, not_over=[Path(arguments.plan)])
    with progress.reporter(shown=True) as say, probing.ended_in_order():
        say("looking", what="for the model")
        source = models.locate(chosen.model.name, chosen.model.revision)
        tried = probing.run(chosen, source, arguments.steps, say)
    found = msgspec.structs.replace(
        probes.of(tried.measured, tried.plan, tried.halved, tried.evaluations, tried.predicted),
        fingerprint=source.fingerprint,
        findings=tried.findings,
    )
    probes.remember(chosen, found)
    if out:
        with new_file(out) as file:
            file.write(plan.dump(tried.plan).encode())
    if arguments.json:
        document = msgspec.to_builtins(found) | {"written": str(out) if out else None}
        output.print_json(document)
    else:
        console = output.console()
        console.print(output.pairs(_lines(found)))
        output.say(console, *_advice(found, arguments.plan, out))
    return 0


def _lines(found: Probe) -> Iterator[tuple[str, str]]:
    measured, predicted = found.measured, found.predicted
    yield "device", f"{found.device}, {size(found.device_memory.value)}, {measured.precision}"
    passes = plural(found.gradient_accumulation, "forward pass", "forward passes")
    yield (
        "batch",
        f"{plural(found.batch_size, 'row')}, {passes} a step; the longest row has {measured.longest:,} tokens",
    )
    yield "memory", f"{size(found.memory.value)}{_against(predicted.peak_memory, sizes)}"
    for part in found.memory_parts.values():
        if not part.value:
            continue
        yield "", f"{size(part.value)} {part.source.partition(': ')[2]}"
    yield (
        "speed",
        (
            f"{found.tokens_per_s.value:,.0f} tokens/s at the longest rows, padding included; "
            f"{found.useful_tokens_per_s.value:,.0f} at rows as they come, without it"
        ),
    )
    yield "step", f"{_seconds(found.step_s)} at the longest rows"
    if found.evaluation_s:
        yield "evaluation", f"{_seconds(found.evaluation_s)} a step at the longest validation rows"
    time = found.seconds
    yield (
        "training",
        (
            f"{spans(time.low or 0, time.high or 0)}"
            f"{_against(predicted.seconds, spans)}; {time.source}"
        ),
    )


def _seconds(one: Figure) -> str:
    return f"{one.value:.2g} s" if one.value < 10 else duration(one.value)


def _against(predicted: Figure | None, words: Callable[[float, float], str]) -> str:
    """Return what was predicted, in brackets; nothing where nothing was."""
    if predicted is None:
        return ""
    if predicted.low is None or predicted.high is None:
        return f" (predicted: {words(predicted.value, predicted.value)})"
    return f" (predicted: {words(predicted.low, predicted.high)})"


def _advice(found: Probe, name: str, out: Path | None) -> Iterator[str]:
    """Say what came up, and what to do with a smaller batch."""
    yield from (f"! {visible(one, 400)}" for one in found.findings)
    if out:
        yield f"✓ {visible(str(out))}: the plan with the batch that fits."
    elif found.halved:
        yield (
            f"The plan is as it was. Take the smaller batch: ftwizard probe {shlex.quote(name)} "
            "--write OUT, or set recipe.batch_size to "
            f"{found.batch_size} and recipe.gradient_accumulation to "
            f"{found.gradient_accumulation}."
        )
    else:
        yield "✓ It fits."
