"""Recommended recipe values for a model, data and machine, and warnings before training."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator

import msgspec

from ftwizard import text
from ftwizard.advice.evidence import GradableAnswers, Kind, read_evidence
from ftwizard.advice.recipe_rules import SAFE, AdvisedValue, advise_value, memory, setting, table
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.data.documents import DataReport
from ftwizard.data.format_names import Format
from ftwizard.estimate import batching, training_machine, training_setup
from ftwizard.estimate.batching import LengthDistribution, compute_passes
from ftwizard.estimate.memory import estimate_cpu_memory, estimate_memory
from ftwizard.estimate.report import RecipeWarning
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import MANY_EPOCHS, OBJECTIVES, Method, Recipe
from ftwizard.text import format_count, format_learning_rate

FAR = 10.0
"""Ratio between a learning rate and the usual one, in either direction, that causes a warning."""
DEFAULT_RECIPE = Recipe()
ANOTHER_SIZE = 1.5
"""Ratio of parameters above which two models count as different sizes."""


class EarlierRate(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate of an earlier run."""

    rate: float
    parameters: int | None
    """Of its model; None if unknown."""


def advise_learning_rate(
    method: Method, parameters: int | None, objective: ObjectiveName = "sft"
) -> AdvisedValue:
    """Advise the usual peak learning rate for a method, a number of parameters and an objective.

    Without a size it is the rate of the smallest models, which is the plan's default.
    """
    rates = [
        rate for rate in table().rates if method in rate.methods and objective in rate.objectives
    ]
    rule = next(rate for rate in rates if (parameters or 0) <= rate.up_to)
    is_unknown = parameters is None and len(rates) > 1
    unknown = "Model size unknown. " if is_unknown else ""
    return rule.advise("learning_rate", rule.value, unknown + rule.reason)


def advise(
    method: Method,
    parameters: int | None,
    rows: int | None,
    facts: MachineInfo,
    *,
    lengths: LengthDistribution | None = None,
    shape: ModelShape | None = None,
    context: int | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> tuple[AdvisedValue, ...]:
    """Advise the settings that depend on method, model, data and machine.

    ``parameters``: of the model; ``rows``: number of training examples; ``lengths``: of the rows of
    the checked file (``estimate.batches.lengths`` of a check's ``tokens``); ``context``: the model's
    context length in tokens; ``recipe``: with the objective and what affects its memory. None if
    unknown; advice that depends on it is then left out.
    """
    spread = lengths if lengths is None or rows is None else lengths.scaled(rows)
    case = _RowsCase(
        method=method, parameters=parameters, rows=rows, facts=facts, lengths=spread, shape=shape,
        context=context, recipe=recipe,
    )  # fmt: skip
    return (
        advise_learning_rate(method, parameters, recipe.objective),
        *_advise_for_rows(case),
        *_advise_automatic(method, facts),
    )


def advise_objective(format: Format | None, gradable: GradableAnswers | None) -> AdvisedValue:
    """Advise the training objective for rows of a format; ``gradable``: answers that can be verified.

    Reinforcement is advised only for rows without an answer to learn: answers are the simpler start.
    """
    objective = choose_objective(format)
    if objective == "sft" and gradable is not None:
        words = {"share": f"{gradable.share:.0%}", "are": gradable.are}
        return advise_value("objective", "objective-gradable", objective, **words)
    return advise_value("objective", f"objective-{objective}", objective)


def choose_objective(format: Format | None) -> ObjectiveName:
    """Return the training objective that rows of a format are for."""
    return "grpo" if format == "prompt" else OBJECTIVES.get(format, "sft")


_REWARDS: dict[Kind, str] = {
    "number": "numeric_answer", "json": "json_fields", "choice": "exact_answer",
    "quote": "exact_answer",
}  # fmt: skip
"""The packaged reward for each kind of answers; code needs a function of its own."""


def advise_rewards(gradable: GradableAnswers | None) -> AdvisedValue | None:
    """Advise the reward function that verifies the rows' answers, by name; None where none is known."""
    function = _REWARDS.get(gradable.kind) if gradable else None
    if gradable is None or function is None:
        return None
    words = {"share": f"{gradable.share:.0%}", "are": gradable.are}
    return advise_value("grpo.rewards", "rewards", function, **words)


def describe_rewards(report: DataReport) -> str:
    """Describe the reward that scores the answers of checked prompts, and how to try it; empty where
    they cannot be verified."""
    gradable = read_evidence(report).verifiable
    if gradable is None:
        return ""
    advice = advise_rewards(gradable)
    if advice is None:
        return (
            f"{gradable.share:.0%} of the right answers {gradable.are}: write a reward function of your "
            "own for them."
        )
    path = shlex.quote(text.make_visible(report.path))
    return f"{advice.reason} {advice.value} rewards them. Try it: ftwizard rewards {advice.value} --data {path}"


def advise_report_to() -> AdvisedValue:
    """Advise where metrics go: only to the run folder."""
    return advise_value("report_to", "report", None)


def advise_method(
    parameters: int | None,
    facts: MachineInfo,
    *,
    shape: ModelShape | None = None,
    length: int = 1024,
    recipe: Recipe = DEFAULT_RECIPE,
) -> AdvisedValue:
    """Advise a method that fits this machine.

    With ``shape``, memory is estimated for the smallest batch of ``recipe``'s objective, with rows of
    ``length`` tokens; without it, from the minimum bytes per parameter.
    """
    if not facts.gpus:
        return advise_value("method", "processors", "lora")
    free = facts.gpu_free
    if shape is not None and free is not None:
        return _that_fits(shape, _change(recipe, _least_rows(recipe), length), facts)
    lora, qlora = memory("lora"), memory("qlora")
    value, reason = "qlora", "QLoRA needs the least memory. How much is not known yet."
    if free is not None and parameters is not None:
        need = parameters * lora.bytes
        value = "lora" if free >= need else "qlora"
        reason = f"LoRA needs about {text.format_bytes(need)}; the GPU has {_has(facts)}."
        if free < parameters * qlora.bytes:
            reason += " 4-bit does not fit either: choose a smaller model."
    return AdvisedValue(
        name="method", value=value, reason=reason, as_of=lora.as_of, source=lora.source
    )


def _has(facts: MachineInfo) -> str:
    """Describe the GPU memory that no other program uses."""
    whole, free = facts.gpu_memory or 0, facts.gpu_free or 0
    return text.format_bytes(free) + (" free" if free < whole else "")


def _that_fits(shape: ModelShape, recipe: Recipe, facts: MachineInfo) -> AdvisedValue:
    """Advise LoRA if even the upper end of its estimate for one batch fits, else QLoRA."""
    here, has, machine = facts.gpu_free or 0, _has(facts), _describe_largest(facts)
    methods: tuple[Method, ...] = ("lora", "qlora")
    lora, qlora = (
        _estimate_highest(shape, msgspec.structs.replace(recipe, method=method), machine)
        for method in methods
    )
    value = "lora" if lora <= here * SAFE else "qlora"
    advised = advise_value("method", "method-fits", value, lora=text.format_bytes(lora), here=has)
    reason = advised.reason
    if lora > here * SAFE:
        reason += f" QLoRA needs up to {text.format_bytes(qlora)}."
    if qlora > here * SAFE:
        reason += " Choose a smaller model or a larger GPU."
    return msgspec.structs.replace(advised, reason=reason)


def _describe_largest(facts: MachineInfo) -> TrainingMachine:
    """Describe the machine with its largest GPU."""
    largest = max(facts.gpus, key=lambda gpu: gpu.memory or 0, default=None)
    return training_machine.describe(largest, facts)


def _least_rows(recipe: Recipe) -> int:
    """Return the fewest rows of a forward pass; KTO compares the rows of one."""
    return 2 if recipe.objective == "kto" else 1


def _change(recipe: Recipe, rows: int, length: int) -> Recipe:
    """Return a recipe with other batches, and with all target modules, which every model has."""
    return msgspec.structs.replace(
        recipe, batch_size=rows, max_length=length, packing=False, target_modules=None
    )


def _estimate_highest(shape: ModelShape, recipe: Recipe, machine: TrainingMachine) -> float:
    """Return the upper end of the memory estimate, in bytes."""
    setup = training_machine.resolve_setup(recipe, machine, shape=shape)
    estimate = estimate_memory if machine.gpu else estimate_cpu_memory
    return estimate(shape, setup).peak.highest


def _advise_automatic(method: Method, facts: MachineInfo) -> tuple[AdvisedValue, ...]:
    """Predict the run's automatic choices on this machine (see ``train.hardware``)."""
    here = _describe_largest(facts).card  # None if it is not listed
    where = "checkpointing-gpu" if facts.gpus else "checkpointing-processors"
    checkpointing = advise_value("gradient_checkpointing", where, None)
    return (checkpointing, _precision(method, facts, here), _attention(facts, here))


def _precision(method: Method, facts: MachineInfo, here: GpuSpec | None) -> AdvisedValue:
    fallback = "fp32" if method == "qlora" else "fp16, and fp32 for Gemma"
    if not facts.gpus:
        kind = "bf16, which this CPU supports" if facts.bfloat16_cpu else "fp32"
        return advise_value("precision", "precision-processors", "auto", kind=kind)
    if here is None:
        return advise_value("precision", "precision-unknown", "auto", other=fallback)
    if here.bf16:
        return _by_card("precision", here, f"bf16, which {here.name} supports")
    return _by_card("precision", here, f"{fallback}: {here.name} does not support bf16")


def _attention(facts: MachineInfo, here: GpuSpec | None) -> AdvisedValue:
    if not facts.gpus:
        return advise_value("attention", "attention-processors", "auto")
    if here is not None and not here.flash:
        return _by_card("attention", here, f"sdpa: flash-attn 2 does not run on {here.name}")
    if not facts.flash_attn:
        return advise_value("attention", "attention-missing", "auto")
    if here is None:
        return advise_value("attention", "attention-unknown", "auto")
    return _by_card(
        "attention", here,
        f"flash attention if the model supports it: flash-attn is installed and {here.name} runs it",
    )  # fmt: skip


def _by_card(name: str, here: GpuSpec, words: str) -> AdvisedValue:
    """Return an automatic choice whose source is the GPU's datasheet."""
    return AdvisedValue(
        name=name, value="auto", reason=f"auto uses {words}.", as_of=here.as_of,
        source=f"{here.name}: {here.source} (compute capability {here.capability:g})",
    )  # fmt: skip


def warnings(
    recipe: Recipe,
    parameters: int | None,
    earlier: EarlierRate | None = None,
    *,
    validates: bool = True,
    falling: bool = False,
) -> tuple[RecipeWarning, ...]:
    """Return warnings about a recipe before training.

    ``parameters``: of the model, None if unknown; ``earlier``: the learning rate of another run;
    ``validates``: whether there is a validation set; ``falling``: whether the validation loss of an
    earlier run on the same rows was still falling when it ended.
    """
    raised = [*_rate_warnings(recipe, parameters, earlier)]
    if recipe.epochs > MANY_EPOCHS and not falling:
        message = (
            f"{recipe.epochs:g} epochs usually lead to memorization. Start with {MANY_EPOCHS} and "
            "check the validation loss."
        )
        raised.append(RecipeWarning(code="many-epochs", message=message, allow="many-epochs"))
    if not validates:
        message = (
            "Without validation data, overfitting goes unnoticed. Set aside 10–20% of the rows."
        )
        raised.append(RecipeWarning(code="no-validation", message=message, allow="no-validation"))
    return tuple(raised)


def _rate_warnings(
    recipe: Recipe, parameters: int | None, earlier: EarlierRate | None
) -> Iterator[RecipeWarning]:
    rate: float | None = recipe.learning_rate
    if rate is None:  # the run uses the usual one
        return
    usual = advise_learning_rate(recipe.method, parameters, recipe.objective).value
    assert isinstance(usual, float)
    name = setting("method").option(recipe.method).name
    own, normal = format_learning_rate(rate), format_learning_rate(usual)
    if earlier and earlier.rate == rate and _differ(earlier.parameters, parameters):
        message = (
            f"{own} comes from a model of another size. Usual for this size with {name}: {normal}."
        )
        yield RecipeWarning(code="rate-from-another-size", message=message)
    # Tolerates rounding: 2e-5 instead of 2e-4 is a typical learning rate for full fine-tuning.
    if rate <= usual / FAR * 1.001:
        message = f"{own} is far below the usual {normal} for {name}: the model may learn nothing."
        yield RecipeWarning(code="rate-too-low", message=message)
    if rate >= usual * FAR * 0.999:
        message = f"{own} is far above the usual {normal} for {name}: training may diverge."
        yield RecipeWarning(code="rate-too-high", message=message)


def _differ(size: int | None, other_size: int | None) -> bool:
    if not size or not other_size:
        return False
    return max(size, other_size) / min(size, other_size) > ANOTHER_SIZE


ROWS_PER_STEP = 16
"""As in QLoRA's own runs."""
MIN_STEPS_PER_EPOCH = 50
"""With fewer steps per epoch, fewer rows per step are advised."""
ROWS_PER_PASS = 4
RANK, MAX_RANK = 16, 256
BITS_PER_WEIGHT = 2.0
"""Capacity of an adapter; a token carries about one bit (LoRA Without Regret, Schulman et al.
2025)."""
ALPHA_RATIO = 2
"""Alpha / rank."""
MIN_PADDING_SHARE = 0.2
"""Share of padding from which packing is worth it."""
LENGTH_MULTIPLE = 64
"""Lengths are rounded up to a multiple of this."""
MAX_LENGTH = 8192
"""Largest advised length: one such row fills a GPU's memory."""
MAX_OVER_P99 = 1.25
"""The longest row sets the length if it is at most this many times the 99th percentile."""
WARMUP, WARMUP_STEPS, MAX_WARMUP = 0.03, 5, 0.1


class _RowsCase(msgspec.Struct, frozen=True, kw_only=True):
    """Model, rows and machine to advise on; None where unknown."""

    method: Method
    parameters: int | None
    """Of the model."""
    rows: int | None
    """Number of training examples."""
    facts: MachineInfo
    lengths: LengthDistribution | None = None
    """Of the training examples."""
    shape: ModelShape | None = None
    context: int | None = None
    """Context length of the model in tokens."""
    recipe: Recipe = Recipe()
    """With the objective and what affects its memory."""


def _advise_for_rows(case: _RowsCase) -> tuple[AdvisedValue, ...]:
    """Advise the settings that depend on the rows; those that need unknown facts are left out."""
    length = _advise_length(case)
    packing = _packing(case, length)
    batch, accumulation = _batch(case, length, packing)
    candidates = [_advise_epochs(case), length, packing, batch, accumulation]
    if case.method != "full":
        rank = _rank(case)
        alpha = advise_value("alpha", "alpha", int(rank.value or RANK) * ALPHA_RATIO)
        candidates += [rank, alpha]
    packed = int(length.value or 0) if length and packing and packing.value else None
    candidates.append(_warmup(case, int(batch.value or 1), int(accumulation.value or 1), packed))
    return tuple(advice for advice in candidates if advice is not None)


def _advise_epochs(case: _RowsCase) -> AdvisedValue:
    """Advise the number of epochs: three, fewer for large datasets, one for preferences."""
    rules = [rule for rule in table().epochs if case.recipe.objective in rule.objectives]
    rule = [rule for rule in rules if rule.rows <= (case.rows or 0)][-1]
    return rule.advise("epochs", rule.value, rule.reason)


def _advise_length(case: _RowsCase) -> AdvisedValue | None:
    """Advise the length that truncates 1% of the rows; None if no lengths are known."""
    if case.lengths is None or not case.lengths.buckets:
        return None
    p99, longest = case.lengths.p99, case.lengths.buckets[-1].upto
    limit = min(case.context or MAX_LENGTH, MAX_LENGTH)
    wanted = (longest if longest <= p99 * MAX_OVER_P99 else p99) * case.lengths.most
    rounded = math.ceil(wanted / LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    value = min(max(2 * LENGTH_MULTIPLE, rounded), limit)
    cut = _percent(batching.cut_share(case.lengths, value))
    if value < p99 and value == case.context:
        return advise_value("max_length", "length-context", value, context=f"{value:,}", cut=cut)
    if value < p99:
        return advise_value("max_length", "length-most", value, cut=cut)
    if case.lengths.most > 1:
        return advise_value("max_length", "length-about", value, p99=f"{p99:,.0f}")
    if value >= longest:
        return advise_value("max_length", "length-all", value, longest=f"{longest:,.0f}")
    return advise_value("max_length", "length", value, p99=f"{p99:,.0f}", cut=cut)


def _packing(case: _RowsCase, length: AdvisedValue | None) -> AdvisedValue | None:
    """Advise packing if there is much padding and enough steps remain."""
    if case.recipe.objective != "sft":  # TRL packs only supervised rows
        return None
    if case.lengths is None or length is None or case.lengths.rows < 1:
        return None
    if not case.facts.gpus:
        return advise_value("packing", "packing-processors", False)
    tokens = int(length.value or 0)
    plain = compute_passes(
        case.lengths, Recipe(batch_size=ROWS_PER_PASS, epochs=1, max_length=tokens)
    )
    padded = _percent(plain.padding_share)
    if plain.padding_share < MIN_PADDING_SHARE:
        return advise_value("packing", "packing-little", False, padded=padded)
    packed = compute_passes(
        case.lengths, Recipe(batch_size=1, epochs=1, max_length=tokens, packing=True)
    )
    if packed.steps < MIN_STEPS_PER_EPOCH:
        steps_words = format_count(packed.steps, "step")
        return advise_value("packing", "packing-few", False, padded=padded, steps=steps_words)
    return advise_value("packing", "packing", True, padded=padded, length=f"{tokens:,}")


def _batch(
    case: _RowsCase, length: AdvisedValue | None, packing: AdvisedValue | None
) -> tuple[AdvisedValue, AdvisedValue]:
    """Advise 16 rows per step, fewer, but at least 4, if an epoch would have under 50 steps.

    With ``grpo``, whole groups of answers; with ``kto``, at least two answers per pass.
    """
    if case.recipe.objective == "grpo":
        return _batch_of_groups(case, length)
    together = ROWS_PER_STEP
    while case.rows is not None and together > 4 and case.rows < together * MIN_STEPS_PER_EPOCH:
        together //= 2
    key = "step" if case.rows is None or together == ROWS_PER_STEP else "step-few"
    each = 1.0  # rows per sequence
    if packing is not None and packing.value and case.lengths is not None and length is not None:
        each = max(1.0, int(length.value or 1) / max(case.lengths.mean, 1.0))
        key += "-packed"
    wanted = max(1, round(ROWS_PER_PASS / each))
    batch = _fitting(case, wanted, int(length.value) if length and length.value else None)
    if int(batch.value or 1) < _least_rows(case.recipe):
        batch = advise_value("batch_size", "batch-compared", _least_rows(case.recipe))
    accumulation = max(1, round(together / (int(batch.value or 1) * each)))
    return batch, advise_value(
        "gradient_accumulation", key, accumulation, each=f"{each:.0f}",
        rows=f"{case.rows or 0:,}", together=together,
    )  # fmt: skip


def _batch_of_groups(
    case: _RowsCase, length: AdvisedValue | None
) -> tuple[AdvisedValue, AdvisedValue]:
    """Advise about 16 answers per step, in whole groups of one prompt each."""
    group = max(2, case.recipe.grpo.num_generations)
    prompts = max(1, round(ROWS_PER_STEP / group))
    together = group * prompts
    most = int(
        _fitting(case, ROWS_PER_PASS, int(length.value) if length and length.value else None).value
        or 1
    )
    size = max(size for size in range(1, most + 1) if together % size == 0)
    words = {"group": group, "prompts": format_count(prompts, "prompt"), "together": together}
    return (
        advise_value(
            "batch_size", "batch-group", size, rows=format_count(size, "answer"), group=group
        ),
        advise_value("gradient_accumulation", "step-group", together // size, **words),
    )


def _fitting(case: _RowsCase, wanted: int, length: int | None) -> AdvisedValue:
    """Advise the rows per forward pass."""
    facts = case.facts
    memory_here = facts.gpu_memory
    available = facts.gpu_free if facts.gpus else facts.memory or None
    if case.shape is not None and length and available is not None:
        # The largest batch, up to ``wanted``, whose upper memory estimate fits.
        machine = _describe_largest(facts)
        for size in sorted({wanted, *(2**n for n in range(5) if 2**n < wanted)}, reverse=True):
            recipe = msgspec.structs.replace(_change(case.recipe, size, length), method=case.method)
            need = _estimate_highest(case.shape, recipe, machine)
            if need <= available * SAFE:
                words = {"rows": format_count(size, "row"), "most": f"{need / 1e9:,.0f} GB"}
                key = "batch-memory" if facts.gpus else "batch-processors"
                return advise_value("batch_size", key, size, **words)
        return advise_value("batch_size", "batch-too-much", 1)
    if case.parameters is None or memory_here is None:
        return advise_value("batch_size", "batch", min(wanted, ROWS_PER_PASS))
    key = "batch-full" if case.method == "full" else "batch"
    # Below 1.75 times the minimum memory, the activations of four rows no longer fit.
    if memory_here < 1.75 * case.parameters * memory(case.method).bytes:
        return advise_value("batch_size", f"{key}-tight", 1)
    rows_text = "Four rows" if wanted == ROWS_PER_PASS else format_count(wanted, "sequence")
    fit = "fits" if wanted == 1 else "fit"
    return advise_value("batch_size", f"{key}-fits", wanted, rows=rows_text, fit=fit)


def _rank(case: _RowsCase) -> AdvisedValue:
    """Advise a rank whose adapter can store the information of one epoch."""
    if case.shape is None or case.lengths is None:
        return advise_value("rank", "rank-unknown", RANK)
    weights = case.shape.adapter(1) or 1  # of an adapter of rank 1
    need = case.lengths.total / (BITS_PER_WEIGHT * weights)
    tokens = f"{_short(case.lengths.total)} tokens"
    if need > MAX_RANK:
        return advise_value("rank", "rank-most", MAX_RANK, tokens=tokens)
    rank = max(RANK, 2 ** math.ceil(math.log2(max(need, 1.0))))
    if rank == RANK:
        times = f"{min(RANK / max(need, 1e-9), 1e6):,.0f}"
        return advise_value("rank", "rank-enough", rank, tokens=tokens, times=times)
    return advise_value("rank", "rank-larger", rank, tokens=tokens, rank=rank)


def _short(count: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f}"


def _warmup(case: _RowsCase, batch: int, accumulation: int, packed: int | None) -> AdvisedValue:
    """Advise warmup over 3% of the steps, or about five steps if that is more.

    ``packed``: tokens per packed sequence, None without packing.
    """
    if case.rows is None or case.rows < 1:
        return advise_value("warmup", "warmup", WARMUP)
    passes = float(_advise_epochs(case).value or 1)
    rows = case.rows * (case.recipe.grpo.num_generations if case.recipe.objective == "grpo" else 1)
    total = training_setup.total_steps(rows, batch, accumulation, passes)
    if packed and case.lengths is not None:
        recipe = Recipe(
            batch_size=batch, gradient_accumulation=accumulation, epochs=passes, max_length=packed,
            packing=True,
        )  # fmt: skip
        total = compute_passes(case.lengths, recipe).steps
    share = min(MAX_WARMUP, max(WARMUP, math.ceil(WARMUP_STEPS / total * 100) / 100))
    if share == WARMUP:
        return advise_value("warmup", "warmup", WARMUP)
    return advise_value("warmup", "warmup-short", share, steps=f"{total:,}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
