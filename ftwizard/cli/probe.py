"""``probe``: memory and speed of a plan, measured in a few real steps on its longest examples."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from rich.table import Table

from ftwizard import user_paths
from ftwizard.cli import output, plan_argument, progress
from ftwizard.data.new_file import new_file, require_free
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import probe_cache, speed_options
from ftwizard.estimate.parallelism import MODE_NAMES
from ftwizard.estimate.probe_cache import CachedProbe, ProbeReport
from ftwizard.estimate.speed_options import OptionResult, SpeedComparison
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.text import (
    format_byte_range,
    format_bytes,
    format_count,
    format_duration,
    format_duration_range,
    make_visible,
)
from ftwizard.train import command, probe_runner, slurm_script, speed_comparison
from ftwizard.train.speed_comparison import ComparedPlan

MAX_STEPS = 1000
"""More steps would be a training run."""


def probe(arguments: argparse.Namespace) -> int:
    """Measure memory and speed; with ``--write``, write a plan with the batch size that fits."""
    if not 1 <= arguments.steps <= MAX_STEPS:
        raise FtwizardError(
            f"--steps is {arguments.steps:,}; it must be 1 to {MAX_STEPS:,}.",
            "Remove it for 3 real steps on the longest examples.",
            USAGE,
        )
    chosen = plan_argument.load(arguments.plan, arguments.allow, deferred=("many-epochs",))
    plan_argument.require_local(chosen, "there is nothing to measure here", arguments.plan)
    if chosen.recipe.objective == "grpo":
        raise FtwizardError(
            "A probe measures rows of known length; answers to prompts (recipe.objective: grpo) get theirs "
            "as they are written.",
            "Train a few steps instead, with recipe.max_steps: 3.",
            USAGE,
        )
    _require_node(chosen, arguments.plan)
    command.check_installed(chosen)
    out = user_paths.expand(arguments.write) if arguments.write else None
    if out:
        require_free(out, not_over=[Path(arguments.plan)])
    with progress.reporter() as say, probe_runner.exit_on_sigterm():
        say("looking", what="for the model")
        source = hub.locate(chosen.model.name, chosen.model.revision)
        if arguments.compare:
            compared = speed_comparison.compare(chosen, source, arguments.steps, say)
            return _report_comparison(arguments, compared, out)
        tried = probe_runner.run_probe(chosen, source, arguments.steps, say)
    probe_result = msgspec.structs.replace(
        probe_cache.from_measurements(
            tried.measured,
            tried.plan,
            tried.halved,
            tried.evaluations,
            tried.predicted,
            tried.epochs,
        ),
        fingerprint=source.fingerprint,
        findings=tried.findings,
    )
    probe_cache.cache_probe(chosen, probe_result)
    if out:
        _write_plan(tried.plan, out)
    if arguments.json:
        fields = {name: getattr(probe_result, name) for name in probe_result.__struct_fields__}
        output.print_json(ProbeReport(**fields, written=str(out) if out else None))
    else:
        console = output.make_console()
        console.print(output.build_pair_table(_result_lines(probe_result)))
        output.print_lines(console, *_advice_lines(probe_result, arguments.plan, out))
        if chosen.ranks > probe_result.measured.processes:
            output.print_lines(console, _describe_rest(chosen, probe_result))
    return 0


def _write_plan(plan: Plan, out: Path) -> None:
    with new_file(out) as file:
        file.write(plan_file.dump(plan).encode())


def _report_comparison(
    arguments: argparse.Namespace, compared: ComparedPlan, out: Path | None
) -> int:
    """Print the comparison, and write the plan with the fastest settings to ``out``."""
    report = compared.report
    if out:
        _write_plan(compared.plan, out)
        report = msgspec.structs.replace(report, written=str(out))
    if arguments.json:
        output.print_json(report)
        return 0
    console = output.make_console()
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="")
    for name in ("option", "tokens/s", "gain", "memory", "steps/epoch", "loss"):
        table.add_column(name, justify="left" if name == "option" else "right")
    for option in report.options:
        if option.state in ("measured", "other_result"):
            table.add_row(*_format_option(option))
    console.print(table)
    output.print_lines(console, *_comparison_lines(report, arguments.plan))
    if compared.plan.ranks > 1:
        output.print_lines(console, _describe_single(compared.plan))
    return 0


def _format_option(option: OptionResult) -> Iterator[str]:
    assert option.tokens_per_s and option.memory and option.check
    yield option.name
    yield f"{option.tokens_per_s.value:,.0f}"
    yield "refused" if option.gain is None else "" if not option.settings else f"{option.gain:+.0%}"
    yield format_bytes(option.memory.value)
    yield f"{option.steps_per_epoch:,}"
    yield f"{option.check.loss:.4f}"


def _comparison_lines(report: SpeedComparison, name: str) -> Iterator[str]:
    """Yield what was measured, what was not, and what to write into the plan."""
    yield (
        f"On {report.device} in {report.precision}; attention of the present setting: "
        f"{report.attention}. Tokens/s: of trained rows, without padding. Loss: of the same rows before "
        "the first step."
    )
    yield f"Two measurements of the present setting differed by {report.noise:.0%}."
    words = {"impossible": "not possible", "failed": "failed", "other_result": "refused"}
    for option in report.options:
        if option.state in words:
            yield f"! {option.name}: {words[option.state]}: {make_visible(option.reason, 300)}."
    present = report.options[0]
    for option in report.options[1:]:
        is_faster = speed_options.is_gain(option, report.noise)
        if is_faster and not speed_options.trains_the_same(option, present):
            yield (
                f"! {option.name} is {option.gain:.0%} faster, in {option.steps_per_epoch:,} instead of "
                f"{present.steps_per_epoch:,} larger steps per epoch: another training, so decide yourself."
            )
    if not report.fastest:
        yield "✓ No other setting is faster by more than chance. Keep the present one."
        return
    yield f"✓ Fastest with the same training, by {report.gain:.0%}. In the plan:"
    yield "  recipe:"
    yield from (
        f"    {speed_options.format_settings({key: value})}"
        for key, value in report.fastest.items()
    )
    if report.written:
        yield f"✓ Wrote {make_visible(report.written)}, the plan with these settings."
    else:
        yield f"To write it: ftwizard probe {shlex.quote(name)} --compare --write OUT"


def _require_node(plan: Plan, file: str) -> None:
    """Raise FtwizardError for a plan that trains on a node of Slurm, where this is none."""
    if plan.where.scheduler != "slurm" or "SLURM_JOB_ID" in os.environ:
        return
    raise FtwizardError(
        "This plan trains on a node of the cluster. A probe here would measure the login node.",
        "Measure on such a node: "
        + slurm_script.build_probe_command(plan.slurm, plan.where.processes, file),
        USAGE,
    )


def _result_lines(result: CachedProbe) -> Iterator[tuple[str, str]]:
    measured, predicted = result.measured, result.predicted
    memory = format_bytes(result.device_memory.value)
    yield "device", f"{result.device}, {memory}, {measured.precision}"
    if measured.processes > 1:
        mode = f", {MODE_NAMES[measured.mode]}" if measured.mode else ""
        meaning = "the memory of the one that needs most, the speed of all"
        yield "measured", f"with {measured.processes} processes{mode}: {meaning}"
    examples = format_count(result.batch_size, "example")
    passes = format_count(result.gradient_accumulation, "forward pass", "forward passes")
    longest = f"the longest has {measured.longest:,} tokens"
    yield "batch", f"{examples}, {passes} per step; {longest}"
    prediction = _format_prediction(predicted.peak_memory, format_byte_range)
    yield "memory", f"{format_bytes(result.memory.value)}{prediction}"
    for part in result.memory_parts.values():
        if part.value:
            yield "", f"{format_bytes(part.value)} {part.brief_source}"
    speed = f"{result.tokens_per_s.value:,.0f} tokens/s on the longest examples, with padding"
    useful = f"{result.useful_tokens_per_s.value:,.0f} on average ones, without"
    yield "speed", f"{speed}; {useful}"
    yield "step", f"{_format_seconds(result.step_s)} on the longest examples"
    if result.evaluation_s:
        seconds = _format_seconds(result.evaluation_s)
        yield "evaluation", f"{seconds} per step on the longest validation examples"
    time = result.seconds
    prediction = _format_prediction(predicted.seconds, format_duration_range)
    took = format_duration_range(time.low or 0, time.high or 0)
    yield "training", f"{took}{prediction}; {time.source}"


def _describe_rest(plan: Plan, result: CachedProbe) -> str:
    """Describe what a probe leaves open for a plan with more processes than it measured."""
    measured = result.measured
    if measured.processes == 1:
        return _describe_single(plan)
    memory = (
        "with DDP, each process needs this memory on all nodes too"
        if measured.mode == "ddp"
        else "with FSDP, this is the most that a process needs: on all nodes, each holds a smaller part"
    )
    return (
        f"! Measured on one node of {plan.nodes}: {memory}. ftwizard estimate uses this speed for the "
        "time of all."
    )


def _describe_single(plan: Plan) -> str:
    """Describe what a probe of one process leaves open for a plan with several."""
    return (
        f"! Measured with one process. The plan trains with {plan.ranks}: ftwizard estimate computes "
        "the memory of each, and uses this speed for the time of all."
    )


def _format_seconds(step: Figure) -> str:
    return f"{step.value:.2g} s" if step.value < 10 else format_duration(step.value)


def _format_prediction(predicted: Figure | None, formatter: Callable[[float, float], str]) -> str:
    """Return the prediction in brackets; empty where there is none."""
    if predicted is None:
        return ""
    low, high = predicted.low, predicted.high
    if low is None or high is None:
        low = high = predicted.value
    return f" (predicted: {formatter(low, high)})"


def _advice_lines(result: CachedProbe, name: str, out: Path | None) -> Iterator[str]:
    """Yield the findings, and what to do with a smaller batch size."""
    yield from (f"! {make_visible(finding, 400)}" for finding in result.findings)
    if out:
        yield f"✓ Wrote {make_visible(str(out))}, the plan with the batch size that fits."
    elif result.halved:
        yield (
            f"The plan is unchanged. To use the smaller batch: ftwizard probe {shlex.quote(name)} "
            "--write OUT, or set recipe.batch_size to "
            f"{result.batch_size} and recipe.gradient_accumulation to "
            f"{result.gradient_accumulation}."
        )
    else:
        yield "✓ It fits."
