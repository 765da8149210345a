"""The list of models to choose from: what fits this machine and suits the rows, best first.

Every model is judged with the settings that the recipe page would then advise for it. A model that
does not fit stays in the list, with by how much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ftwizard.advice import plan_advice, recipe_rules
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.catalog import model_cards
from ftwizard.catalog.model_cards import Training
from ftwizard.catalog.providers import Size
from ftwizard.data.documents import DataReport
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batching, duration, gpu_fit, training_machine
from ftwizard.estimate.batching import LengthDistribution, TrainingPasses
from ftwizard.estimate.memory import estimate_cpu_memory, estimate_memory
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import model_facts, support
from ftwizard.models.hub_models import HubState
from ftwizard.models.model_facts import ModelFacts, Origin
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Method, Plan, Recipe
from ftwizard.quantity import Figure

Suitability = Literal["fits", "tight", "too large", "unknown", "refused"]
"""``fits``: even the upper end of the estimate does; ``tight``: only the likely value does;
``refused``: it cannot be trained, whatever the machine."""
Refusal = Literal["quantized", "encoder"]
SLOW_STEP_S = 60.0
"""A step on the CPU that takes longer makes even a first run of 100 steps take hours."""
ASSUMED_TOKENS = 256
"""Mean tokens per row while no rows are known."""
ROW_SIZES = ((0, 2e9), (500, 5e9), (5_000, 1e10))
"""Training rows and the largest model recommended from there on, in parameters. A rule of thumb for a
first run: it shows whether the data works, and a larger model costs more for each look at it."""
UNKNOWN_ROWS = 500
ANSWERED_SIZES: dict[Size, float] = {"tiny": 1.3e9, "small": 5e9, "medium": 1e10, "large": 1e11}
"""The largest model for each answer to the question about size, in parameters."""
TEXT_FORMATS = ("text", "pretokenized")
"""Row formats that are trained on without a chat template."""


class ChoiceBasis(msgspec.Struct, frozen=True, kw_only=True):
    """What the choice of a model depends on."""

    machine: MachineInfo
    plan: Plan
    """The answers so far: recipe and GPU; its model does not matter."""
    chosen: frozenset[str] = frozenset()
    """Recipe settings that the person has chosen; advice does not replace them."""
    report: DataReport | None = None
    """Of the check of the training file; None if there was none."""
    rows: int | None = None
    """Number of training rows; None if unknown."""
    size: Size | None = None
    """The answer to the question about size; None without one."""
    can_download: bool = True
    """Whether models that are not on this machine can be used."""

    @property
    def needs_template(self) -> bool:
        """Return whether the rows are rendered with a chat template."""
        return self.report is None or self.report.format not in TEXT_FORMATS

    @property
    def size_limit(self) -> float:
        """Return the parameters of the largest model to recommend."""
        if self.size is not None:
            return ANSWERED_SIZES[self.size]
        rows = UNKNOWN_ROWS if self.rows is None else self.rows
        return [limit for least, limit in ROW_SIZES if least <= rows][-1]


class ModelOption(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; None where unknown."""

    name: str
    origin: Origin
    downloaded: bool
    parameters: int | None
    license: str | None
    gated: bool | None
    chat_template: bool | None
    training: Training | None
    copy_of: str | None
    suitability: Suitability
    refusal: Refusal | None = None
    """Why it is refused."""
    refusal_text: str = ""
    """The same in words, and what to use instead."""
    method: Method | None = None
    """The method that the memory is of."""
    memory: Figure | None = None
    """Bytes that training needs at its peak."""
    available: int | None = None
    """Bytes of the GPU, else of the machine."""
    step: Figure | None = None
    """Seconds of one optimizer step, on the CPU only."""
    step_tokens: int = 0
    """Tokens of that step."""
    slow: bool = False
    """Whether a step takes so long here that a run takes days."""
    suggested: bool = False
    recommended: bool = False
    source: str = ""
    """Where license, access and chat template come from."""
    as_of: str | None = None

    @property
    def spare(self) -> float | None:
        """Return the bytes left at the upper end of the estimate; negative if it exceeds them."""
        if self.memory is None or self.available is None:
            return None
        return self.available - self.memory.highest

    @property
    def excess(self) -> float | None:
        """Return the bytes by which the likely value exceeds the memory; None if it does not."""
        if self.memory is None or self.available is None:
            return None
        return self.memory.value - self.available if self.memory.value > self.available else None

    @property
    def is_open(self) -> bool:
        """Return whether license and access are known to restrict nothing."""
        return model_cards.is_free(self.license) and (self.downloaded or self.gated is False)


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``ftwizard models --json``."""

    recommended: str | None
    """The recommended model, whether it matches the search or not; None without one."""
    hub: HubState
    """Whether the Hub took part in the search."""
    models: tuple[ModelOption, ...]


def list_options(models: Iterable[ModelFacts], basis: ChoiceBasis) -> tuple[ModelOption, ...]:
    """Judge the models, recommend at most one of them, and sort: what suits best comes first."""
    judge = _Judge(basis)
    options = [judge.judge(model) for model in models]
    best = _recommend(options, basis)
    if best is not None:
        options[options.index(best)] = msgspec.structs.replace(best, recommended=True)
    return tuple(sorted(options, key=lambda option: _rank(option, basis)))


class _Need(msgspec.Struct, frozen=True, kw_only=True):
    """What training a model needs here; None where unknown."""

    method: Method | None = None
    memory: Figure | None = None
    """A lower bound alone if only the number of parameters is known."""
    step: Figure | None = None
    step_tokens: int = 0


class _Judge:
    """Judges models for one basis; models of one shape and context are computed once."""

    def __init__(self, basis: ChoiceBasis) -> None:
        self._basis = basis
        self._available = training_machine.available_bytes(basis.plan, basis.machine)
        self._needs: dict[tuple[ModelShape, int | None], _Need] = {}

    def judge(self, model: ModelFacts) -> ModelOption:
        need = self._find_need(model)
        refusal, refusal_text = _find_refusal(model)
        return ModelOption(
            name=model.name, origin=model.origin, downloaded=model.downloaded,
            parameters=model.parameters, license=model.license, gated=model.gated,
            chat_template=model.chat_template, training=model.training, copy_of=model.copy_of,
            suitability="refused" if refusal else self._judge_memory(need.memory),
            refusal=refusal, refusal_text=refusal_text, method=need.method, memory=need.memory, available=self._available,
            step=need.step, step_tokens=need.step_tokens,
            slow=need.step is not None and need.step.value > SLOW_STEP_S, suggested=model.suggested, source=model.source, as_of=model.as_of,
        )  # fmt: skip

    def _find_need(self, model: ModelFacts) -> _Need:
        shape = model_facts.find_shape(model)
        if shape is None:
            return _Need(memory=_find_least_memory(model.parameters, self._basis))
        limits = support.read_context_length(model.config or {})
        key = shape, limits.max_tokens if limits else None
        if key not in self._needs:
            self._needs[key] = _estimate_need(self._basis, *key)
        return self._needs[key]

    def _judge_memory(self, memory: Figure | None) -> Suitability:
        if memory is None or self._available is None:
            return "unknown"
        if memory.high is None:  # a lower bound can only rule a model out
            return "too large" if memory.value > self._available else "unknown"
        verdict = gpu_fit.judge_bytes(memory.value, memory.highest, self._available)
        return "too large" if verdict == "does not fit" else verdict


def _find_refusal(model: ModelFacts) -> tuple[Refusal | None, str]:
    """Return why a model cannot be trained, also in words; None if nothing is known against it."""
    config = model.config or {}
    if error := support.check_quantized(config, model.name):
        return "quantized", error.text
    if error := support.check_encoder(config, model.name):
        return "encoder", error.text
    return None, ""


def _find_least_memory(parameters: int | None, basis: ChoiceBasis) -> Figure | None:
    """Return the least memory of a model of which only the size is known; None without it."""
    if parameters is None:
        return None
    least: Method = "qlora" if basis.machine.gpus else "lora"
    method = basis.plan.recipe.method if "method" in basis.chosen else least
    rule = recipe_rules.memory(method)
    need = parameters * rule.bytes
    return Figure(value=need, low=need, unit="bytes", source=rule.source, as_of=rule.as_of)


def _estimate_need(basis: ChoiceBasis, shape: ModelShape, context: int | None) -> _Need:
    """Estimate memory, and time on the CPU, with the settings that would be advised."""
    recipe = _advise_recipe(basis, shape, context)
    plan = msgspec.structs.replace(basis.plan, recipe=recipe)
    lengths = batching.from_check_tokens(basis.report.tokens) if basis.report else None
    setup = training_machine.setup(plan, {"train": lengths}, basis.machine, shape)
    estimate = estimate_memory if basis.machine.gpus else estimate_cpu_memory
    try:
        memory = estimate(shape, setup).peak
    except FtwizardError:  # the model lacks the chosen target modules
        return _Need(method=recipe.method)
    if basis.machine.gpus:
        return _Need(method=recipe.method, memory=memory)
    work = _make_step(setup, lengths)
    step = duration.from_cpu_cores(
        shape, setup, work, cores=basis.machine.cores, bf16=basis.machine.bfloat16_cpu
    )
    return _Need(method=recipe.method, memory=memory, step=step, step_tokens=round(work.tokens))


def _advise_recipe(basis: ChoiceBasis, shape: ModelShape, context: int | None) -> Recipe:
    """Return the recipe that would be advised for a model; chosen settings stay."""

    def advise(method: Method) -> dict[str, AdvisedValue]:
        return plan_advice.advise(
            basis.plan, method, basis.machine, basis.report, rows=basis.rows, shape=shape,
            context=context,
        )  # fmt: skip

    advice = plan_advice.choose(basis.plan.recipe, basis.chosen, advise)
    fields = Recipe.__struct_fields__
    values = {name: item.value for name, item in advice.items() if name in fields}
    return msgspec.structs.replace(basis.plan.recipe, **values)


def _make_step(setup: TrainingSetup, lengths: LengthDistribution | None) -> TrainingPasses:
    """Return the work of one optimizer step on rows of mean length."""
    mean = lengths.mean if lengths and lengths.rows else ASSUMED_TOKENS
    mean = min(mean, setup.length)
    tokens = mean * setup.batch_size * setup.accumulation
    return TrainingPasses(
        steps=1, steps_per_epoch=1, passes=setup.accumulation, tokens=tokens, padding=0.0,
        attended=mean, cut=0.0,
    )  # fmt: skip


def _recommend(options: Iterable[ModelOption], basis: ChoiceBasis) -> ModelOption | None:
    """Return the model to recommend; None if none is known to fit and to suit the rows.

    Only without one that surely fits, the smallest that may. Otherwise the largest that is quick enough and not larger than the rows call for. On the CPU one that
    needs no access to the Hub comes first, as a first run there is about the data. Among equals: a
    license and access without conditions, then one that suits a first run.
    """
    usable = [option for option in options if _is_candidate(option, basis)]
    fitting = [option for option in usable if option.suitability == "fits"]
    quick = [option for option in fitting if not option.slow]
    if not quick:
        return min(fitting or usable, key=lambda option: option.parameters or 0, default=None)
    limit = basis.size_limit
    sized = [option for option in quick if (option.parameters or 0) <= limit] or quick
    on_cpu = not basis.machine.gpus
    return max(
        sized,
        key=lambda option: (
            on_cpu and (option.downloaded or option.origin == "package"),
            option.parameters or 0, option.suggested, option.downloaded,
        ),
    )  # fmt: skip


def _is_candidate(option: ModelOption, basis: ChoiceBasis) -> bool:
    """Return whether a model may be recommended: it may fit, suits the rows, and is open."""
    return (
        option.suitability in ("fits", "tight")
        and option.is_open
        and option.training in (None, "instruct")
        and (option.chat_template is True or not basis.needs_template)
        and _is_obtainable(option, basis)
    )


def _is_obtainable(option: ModelOption, basis: ChoiceBasis) -> bool:
    return option.downloaded or option.origin == "package" or basis.can_download


_ORDER: dict[Suitability, int] = {"fits": 0, "tight": 1, "unknown": 2, "too large": 3, "refused": 4}


def _rank(option: ModelOption, basis: ChoiceBasis) -> tuple[object, ...]:
    """Return the sort key: smallest first. What does not fit is sorted by size alone."""
    size = option.parameters or 0
    fit = not option.recommended, _ORDER[option.suitability], option.slow
    if option.suitability not in ("fits", "tight"):
        return (*fit, option.copy_of is not None, size, option.name.lower())
    return (
        *fit,
        basis.needs_template and option.chat_template is not True,
        option.training not in (None, "instruct"),
        not _is_obtainable(option, basis),
        not option.is_open,
        option.copy_of is not None,
        size > basis.size_limit,
        size if option.slow or size > basis.size_limit else -size,
        not option.suggested,
        option.name.lower(),
    )
