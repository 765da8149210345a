"""Time of answers that a model writes during training: samples, and those of reinforcement.

Each token of an answer needs one forward pass: of all answers at once, over one token each. The
weights are read once for all of them, and kernels are launched layer by layer, whichever takes
longer (roofline: Williams et al. 2009). How long answers become is unknown before: a range.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.data import general_text
from ftwizard.estimate import duration
from ftwizard.estimate.batching import LengthDistribution, TrainingPasses
from ftwizard.estimate.duration import AS_OF, CORE_GFLOPS, CPU, CPU_LAYER_S, LAUNCH_S, STREAM
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import GRPO, Plan
from ftwizard.quantity import Figure
from ftwizard.text import format_count

FIRST_SAMPLES_S = 10.0
"""Time limit of the samples before the first step, when the duration of an evaluation is unknown."""
MIN_SAMPLES_S = 1.0
"""Time limit of the samples at an evaluation, at least."""
SAMPLES_RATIO = 0.5
"""The same, as a share of the evaluation's duration."""
CPU_BYTES_PER_S = 10e9
"""Bytes of weights that a CPU reads per second: assumed, as of one or two channels of memory."""
TOKEN_S = 0.01
"""Seconds of Python in transformers' generation of a token, whatever the model."""
SLOWER = 2.5
"""Range factor upward on GPUs, where nothing was measured."""
SHORT_ANSWERS, USUAL_ANSWERS = 1 / 8, 1 / 2
"""Assumed length of answers, as shares of ``max_completion_length``: at least, and likely."""


class Processor(NamedTuple):
    """What answers are computed on."""

    card: GpuSpec | None
    """None without a GPU, and for one that is not in the catalog."""
    gpu: bool
    cores: int
    bf16: bool
    """Whether the CPU computes in bf16."""


def estimate_token(
    shape: ModelShape, setup: TrainingSetup, processor: Processor, answers: int
) -> Figure | None:
    """Return the seconds of one more token in each of ``answers``; None on unknown hardware."""
    read = float(shape.parameters) * (setup.bytes_each if setup.method != "full" else 4)
    card = processor.card
    if card is not None and card.bandwidth:
        bandwidth = card.bandwidth * 1e9 * STREAM
        launch = shape.layers * LAUNCH_S[setup.method] / 3
        seconds = max(read / bandwidth, launch) + TOKEN_S
        down, up = duration.SPREAD, SLOWER
    elif processor.gpu or processor.cores < 1:
        return None
    else:
        kind = "bf16" if processor.bf16 and setup.precision != "fp32" else "fp32"
        flops = 2.0 * shape.active * answers / (processor.cores * CORE_GFLOPS[kind] * 1e9)
        seconds = read / CPU_BYTES_PER_S + flops + shape.layers * CPU_LAYER_S + TOKEN_S
        down = up = CPU
    source = f"one forward pass for a token in each of {format_count(answers, 'answer')}"
    return Figure(
        value=seconds, unit="s", low=seconds / down, high=seconds * up, source=source, as_of=AS_OF
    )


def estimate_samples(
    plan: Plan, token: Figure | None, evaluations: int, evaluation_s: float
) -> Figure | None:
    """Return the seconds of the sample answers of a run; None if it writes none.

    ``token``: seconds of a token, None: unknown, so that only the time limits count.
    """
    samples, recipe = plan.samples, plan.recipe
    if samples.prompts is None and not (samples.count and evaluations):
        return None
    limit = samples.max_tokens
    if recipe.objective == "grpo":
        limit = recipe.grpo.max_completion_length
    later = max(MIN_SAMPLES_S, SAMPLES_RATIO * evaluation_s)
    low, value, high = (
        (min(FIRST_SAMPLES_S, limit * each) + evaluations * min(later, limit * each))
        for each in (
            (token.lowest * SHORT_ANSWERS, token.value, token.highest)
            if token
            else (0.0, 0.0, FIRST_SAMPLES_S)
        )
    )
    # A token that was begun is finished after the limit.
    return Figure(
        value=value, unit="s", low=low, high=1.5 * high, as_of=AS_OF,
        source="sample answers at the start and at each evaluation, within their time limits",
    )  # fmt: skip


def count_general_tokens(plan: Plan, *, on_gpu: bool) -> float:
    """Return the tokens of general text that an evaluation measures; 0 in SFT."""
    is_measured = plan.recipe.objective != "sft" and plan.evaluate.general
    return general_text.estimate_tokens(on_gpu=on_gpu) if is_measured else 0.0


class ReinforcementTime(NamedTuple):
    """Seconds of reinforcement."""

    training: Figure
    evaluation: Figure
    """Of one evaluation; 0 without validation prompts."""


def estimate_reinforcement(
    plan: Plan,
    shape: ModelShape,
    setup: TrainingSetup,
    processor: Processor,
    prompts: LengthDistribution,
    validation: LengthDistribution | None,
    steps: int,
    devices: int = 1,
) -> ReinforcementTime | None:
    """Return the time of ``steps`` steps with the model's own answers, without that of rewards.

    ``devices``: those that share the answers of the plan's processes; on each machine without GPUs one.
    Source of the passes: ``_generate_and_score_completions`` and ``_compute_loss`` of TRL 1.16. None
    on hardware of unknown speed.
    """
    grpo, recipe = plan.recipe.grpo, plan.recipe
    passes = -(-recipe.gradient_accumulation * plan.ranks // devices)
    rows = recipe.batch_size * passes
    groups = steps / grpo.num_iterations
    # A penalty asks the reference; answers used several times are compared with their first model.
    references = int(grpo.beta > 0) + int(grpo.num_iterations > 1)
    setup = msgspec.structs.replace(setup, reference_passes=float(references))
    prompt = min(prompts.mean, recipe.max_length)
    general = count_general_tokens(plan, on_gpu=processor.gpu or processor.card is not None)
    training, evaluation = list[float](), list[float]()
    for share, edge in ((SHORT_ANSWERS, "low"), (USUAL_ANSWERS, "value"), (1.0, "high")):
        length = share * grpo.max_completion_length
        work = _count_work(steps, passes, rows * (prompt + length), prompt + length)
        trained = _time_passes(shape, setup, processor, work)
        token = estimate_token(shape, setup, processor, rows)
        if trained is None or token is None:
            return None
        written = groups * length * _edge(token, edge)
        training.append(_edge(trained, edge) + written)
        evaluation.append(
            _time_evaluation(
                grpo, recipe.batch_size, devices, validation, length, _edge(token, edge)
            )
            # General text takes at most the time of as many tokens in training.
            + _edge(trained, edge) / max(1, steps) * (1 + general / (rows * (prompt + length)))
        )
    if validation is None or validation.rows < 1:
        evaluation = [0.0, 0.0, 0.0]
    short = (
        f"answers of {SHORT_ANSWERS * grpo.max_completion_length:,.0f} to "
        f"{grpo.max_completion_length:,} tokens, {format_count(rows, 'answer')} at once"
    )
    source = f"{short}; rewards not included; {duration.FIRST_STEPS}"
    return ReinforcementTime(
        *(
            Figure(value=value, unit="s", low=low, high=high, source=source, short_source=short, as_of=AS_OF)
            for low, value, high in (training, evaluation)
        )
    )  # fmt: skip


def _count_work(steps: int, accumulation: int, tokens: float, attended: float) -> TrainingPasses:
    return TrainingPasses(
        steps=steps, steps_per_epoch=steps, passes=steps * accumulation, tokens=steps * tokens,
        padding=0.0, attended=attended, cut=0.0,
    )  # fmt: skip


def _time_passes(
    shape: ModelShape, setup: TrainingSetup, processor: Processor, work: TrainingPasses
) -> Figure | None:
    if processor.gpu or processor.card:
        return duration.from_gpu_spec(shape, setup, processor.card, work)
    return duration.from_cpu_cores(shape, setup, work, cores=processor.cores, bf16=processor.bf16)


def _time_evaluation(
    grpo: GRPO, batch_size: int, devices: int, validation: LengthDistribution | None, length: float,
    token: float,
) -> float:  # fmt: skip
    """Return the seconds of writing the answers to the validation prompts, batch by batch."""
    if validation is None:
        return 0.0
    each = grpo.num_generations_eval or grpo.num_generations
    batches = -(-validation.rows // (max(1, batch_size // each) * devices))
    return batches * length * token


def _edge(figure: Figure, name: str) -> float:
    return {"low": figure.lowest, "value": figure.value, "high": figure.highest}[name]
