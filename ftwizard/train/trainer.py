"""Training on this machine, from the plan to the best weights; reads top to bottom."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftwizard.advice.recipe_advice import advise_learning_rate
from ftwizard.data import general_text
from ftwizard.errors import FtwizardError
from ftwizard.estimate import plan_estimate
from ftwizard.estimate.parallelism import ParallelChoice
from ftwizard.jobs.ending import classify_error
from ftwizard.jobs.events import read_tail, to_count
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import EarlyEnd, Worker
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import Plan
from ftwizard.runs import base_weights, checkpoints
from ftwizard.runs.checkpoints import Checkpoint
from ftwizard.runs.result import TrainResult
from ftwizard.train import (
    adapter,
    budget,
    checkpoint_rotation,
    dataset,
    initial_weights,
    loss_head,
    model_loading,
    predict,
    rank_launch,
    reward_check,
    runtime,
    sharding,
)
from ftwizard.train.inputs import TrainingInputs, prepare
from ftwizard.train.objectives import preference, reinforcement, sft
from ftwizard.train.objectives.setup import Objective, TrainerSetup
from ftwizard.train.peak_memory import PeakMemoryMeter
from ftwizard.train.rank_group import ALONE, RankGroup
from ftwizard.train.rank_rows import RepeatedPreferences, RepeatedRows

if TYPE_CHECKING:
    from ftwizard.train.callbacks import OverfitDetector, RunControl


MAX_TAIL_BYTES = 1 << 20
"""Part of the events in which a resumed run looks for the newest step."""
OBJECTIVES: dict[ObjectiveName, Objective] = {
    "sft": sft.OBJECTIVE,
    "dpo": preference.DPO_OBJECTIVE,
    "kto": preference.KTO_OBJECTIVE,
    "grpo": reinforcement.OBJECTIVE,
}
"""How the trainer of each ``recipe.objective`` is built and checked."""


def train(
    worker: Worker, plan: Plan, before_steps: Callable[[Path], None] = lambda base: None
) -> TrainResult:
    """Train; leave the best weights in ``adapter/``, or in their checkpoint for a full fine-tune.

    ``before_steps`` is called with the folder of the base model before it is loaded to train.
    """
    ready = prepare(worker, plan)
    _report_damage(worker)
    for name in checkpoint_rotation.move_torn(worker.folder.checkpoints):
        message = f"{name} was incomplete (interrupted while saving) and was moved to torn/."
        worker.events.write_finding("torn_checkpoint", message)
    _report_gap(worker)
    # An earlier attempt may have finished training, so that only the rest is left.
    reason, message = ended_before(worker, plan, ready.total), ""
    if reason is None:
        before_steps(ready.base)
        reason, message = fit(worker, plan, ready)
    worker.events.write("phase", phase="saving", what="the best weights")
    return keep_best(worker, plan, ready, reason, message)


def _report_damage(worker: Worker) -> None:
    """Report the damaged checkpoints that this start set aside; set older incomplete ones aside."""
    damaged = worker.folder.read_attempt(worker.attempt).damaged
    damaged = damaged | checkpoint_rotation.set_incomplete_aside(worker.folder.checkpoints)
    origin = Path(worker.checkpoint).name if worker.checkpoint else "the start"
    for name, files in damaged.items():
        message = f"{checkpoints.describe_damage(name, files)}; the run continues from {origin}."
        worker.events.write_finding("damaged_checkpoint", message, "warning")


def _report_gap(worker: Worker) -> None:
    """Report steps before the checkpoint whose events no disk took."""
    if worker.checkpoint is None:
        return
    events = read_tail(worker.folder.events, MAX_TAIL_BYTES)
    logged = [to_count(event.get("step")) or 0 for event in events if event["kind"] == "log"]
    begin = max(logged, default=0) + 1
    marker = checkpoints.read(worker.folder.path / worker.checkpoint)
    if marker and logged and begin <= marker.step:
        steps = (
            f"Steps {begin:,}–{marker.step:,} were"
            if begin < marker.step
            else f"Step {begin:,} was"
        )
        worker.events.write_finding(
            "lost_events",
            f"{steps} trained, but the events were lost: the disk did not take them.",
            "warning",
            evidence={"first": begin, "last": marker.step},
        )


def ended_before(worker: Worker, plan: Plan, total: int) -> str | None:
    """Return how the training ended in an earlier attempt, None if there are steps left.

    A kill between the last checkpoint and the record of the result leaves a finished training. A
    trainer resumed there would run a step too many.
    """
    if worker.checkpoint is None:
        return None
    path = worker.folder.path / worker.checkpoint
    history = json.loads((path / "trainer_state.json").read_text())
    if history["global_step"] >= total:
        return "finished"
    from ftwizard.train.callbacks import Patience

    patience = Patience(plan.recipe.patience)
    patience.replay(history["log_history"], history.get("eval_steps") or 1)
    return "early_stopped" if patience.is_exhausted else None


def fit(worker: Worker, plan: Plan, ready: TrainingInputs) -> tuple[str, str]:
    """Train from the attempt's checkpoint to the end; return the end reason and a message.

    With one process, in this one; with several, in others that this one starts and waits for.
    """
    base_weights.require_unchanged(
        worker.folder, ready.base, say=lambda subject: worker.phase("loading", what=subject)
    )
    stamps = base_weights.read_stamps(ready.base)

    def record_base() -> None:
        base_weights.record_later(worker.folder, ready.base, stamps)

    if plan.ranks > 1:
        return rank_launch.fit(worker, ready, record_base)
    return fit_here(worker, plan, ready, ALONE, record_base)


def fit_here(
    worker: Worker,
    plan: Plan,
    ready: TrainingInputs,
    group: RankGroup,
    loaded: Callable[[], None] = lambda: None,
) -> tuple[str, str]:
    """Train in this process, one of ``group``; return the end reason and a message.

    What they return counts in the first only. ``loaded`` is called once the model is loaded.
    """
    model_loading.import_trainer()
    folder = worker.folder
    checkpoint = folder.path / worker.checkpoint if worker.checkpoint else None
    callbacks, control, detector = _build_callbacks(worker, plan, ready, checkpoint, group)
    if message := reward_check.describe_changes(plan, worker.record.inputs.get("rewards", {})):
        worker.events.write_finding("rewards_changed", message, "warning")
    settings = make_rank_settings(group, ready)
    trainer = build(worker, plan, ready, callbacks, settings, shards=_shards(group, ready))
    loaded()
    for callback in callbacks:
        if hasattr(callback, "attach"):
            callback.attach(trainer)
    if group.size > 1 and plan.recipe.objective == "sft":
        RepeatedRows(trainer, group)
    elif group.size > 1 and plan.recipe.objective != "grpo":  # which repeats no prompts
        RepeatedPreferences(trainer, group)
    if group.is_first:
        predict.save_prediction(worker, plan, ready, trainer.model)
    _run_steps(worker, trainer, checkpoint, group)
    if control.end_reason == "nan":
        raise EarlyEnd("nan", control.message)
    # The callbacks and the trainer reference each other and the model.
    del trainer, callbacks, callback
    gc.collect()
    if control.end_reason:
        return control.end_reason, control.message
    return ("early_stopped" if detector.fired else "finished"), ""


def _shards(group: RankGroup, ready: TrainingInputs) -> bool:
    return group.size > 1 and ready.shards


def make_rank_settings(group: RankGroup, ready: TrainingInputs) -> dict[str, Any]:
    """Return TRL's settings where several processes train together."""
    import torch

    if group.size == 1:
        return {}
    if ready.shards:
        return sharding.build_settings(has_gpu=torch.cuda.is_available())
    return {
        # Only experts may be unused in a pass. To search for unused weights takes time in each.
        "ddp_find_unused_parameters": model_loading.has_experts(ready.base),
        "ddp_backend": "nccl" if torch.cuda.is_available() else "gloo",
    }


def _build_callbacks(
    worker: Worker,
    plan: Plan,
    ready: TrainingInputs,
    checkpoint: Path | None,
    group: RankGroup,
) -> tuple[list[Any], RunControl, OverfitDetector]:
    """Return the callbacks in their order, and the two among them that may end the training.

    In a process that is not the first of ``group``, these two do nothing.
    """
    from ftwizard.train.callbacks import (
        CheckpointFollower,
        CheckpointKeeper,
        EvaluationTimer,
        OverfitDetector,
        Recorder,
        RunControl,
    )
    from ftwizard.train.diagnosis_callback import DiagnosisCallback
    from ftwizard.train.efficiency import EfficiencyCallback
    from ftwizard.train.general_score import GeneralScore
    from ftwizard.train.rank_control import SharedControl
    from ftwizard.train.rank_speed import SpeedMeter
    from ftwizard.train.resume_check import ResumeCheck
    from ftwizard.train.sample_callback import SampleCallback
    from ftwizard.train.validation_rows import ValidationRows

    marker = checkpoints.read(checkpoint) if checkpoint else None
    facts = _describe_for_diagnosis(plan, ready)
    resumed = [ResumeCheck(worker, checkpoint, group)] if checkpoint else []
    is_sampled = plan.recipe.objective == "grpo"
    # Of reinforcement, the trainer counts the tokens over all attempts itself.
    tokens, meter = marker.tokens if marker and not is_sampled else 0, PeakMemoryMeter()
    shown = {**facts, **_describe_ranks(group, ready.parallel, on_gpu=meter.on_gpu)}
    # Of reinforcement, the answers take most of the time, and no process waits for others in them.
    measures_speed = group.size > 1 and not is_sampled
    speed = [SpeedMeter(worker, group, shown, plan.recipe)] if measures_speed else []
    recorder = Recorder(worker, tokens, meter, shown)
    control = RunControl(worker, budget.limits(worker, plan, ready.base), group.size)
    detector = OverfitDetector(worker, plan.recipe.patience)
    file = "validation" if plan.data.files.validation else "train"
    rows = ValidationRows(
        worker, ready.encoded["validation"], ready.validation, file, facts["rows_per_step"], group
    )
    # Both add to what the recorder writes.
    efficiency = EfficiencyCallback(worker, plan.recipe, ready.base, group)
    limit = plan.recipe.grpo.max_completion_length if is_sampled else plan.samples.max_tokens
    together = _shards(group, ready)
    samples = SampleCallback(
        worker, ready.prompts, ready.encoder, limit, ready.validation, together=together
    )
    scores_text = plan.recipe.objective != "sft" and plan.evaluate.general
    texts = general_text.select_texts(on_gpu=meter.on_gpu) if scores_text else []
    score = GeneralScore(worker, ready.encoder, texts)
    # Without labels, rows have no loss, and the time of a step is that of its answers.
    measured = [] if is_sampled else [efficiency, rows]
    if not group.is_first:
        follower = CheckpointFollower(worker, group)
        last = [*([score, samples] if together else []), follower, SharedControl(group)]
        return [*resumed, *speed, *measured, *last], control, detector
    callbacks: list[Any] = [
        *resumed,
        *speed,
        EvaluationTimer(),
        *measured,
        recorder,
        score,
        samples,
        control,
        DiagnosisCallback(worker, facts),
        detector,
        CheckpointKeeper(worker, recorder, rows, group),
    ]
    if group.size > 1:
        callbacks.append(SharedControl(group))
    return callbacks, control, detector


def _describe_ranks(
    group: RankGroup, parallel: ParallelChoice | None, *, on_gpu: bool
) -> dict[str, Any]:
    """Return what views show of the processes; nothing for one alone."""
    if group.size == 1:
        return {}
    return {
        "ranks": group.size,
        "parallel": parallel.mode if parallel else "ddp",
        "parallel_reason": parallel.reason if parallel else "",
        "on_gpu": on_gpu,
        "first_collective_s": group.first_collective_s,
    }


def _run_steps(
    worker: Worker, trainer: Any, checkpoint: Path | None, group: RankGroup = ALONE
) -> None:
    """Train; meanwhile, SIGTERM saves a checkpoint before the process ends."""
    worker.check_stop()
    worker.saves_itself = True
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except EarlyEnd:
        raise
    except Exception as error:
        if group.is_first:
            _free_space(worker.folder, error)
        raise
    finally:
        worker.saves_itself = False


def _describe_for_diagnosis(plan: Plan, ready: TrainingInputs) -> dict[str, Any]:
    """Return what a diagnosis needs to know beyond the logs: fields of ``Curve``."""
    recipe, shape = plan.recipe, plan_estimate.read_shape(ready.base)
    passes = recipe.gradient_accumulation * plan.ranks
    steps = math.ceil(len(ready.train) / (recipe.batch_size * passes))
    size = shape.parameters if shape else None
    usual = advise_learning_rate(recipe.method, size, recipe.objective).value
    assert isinstance(usual, float)
    rows_per_step = len(ready.encoded["train"]) / max(1, steps)
    if recipe.objective == "grpo":
        rows_per_step = recipe.count_prompts(plan.ranks)
    return {
        "rows_per_step": rows_per_step,
        "usual_rate": usual,
        "objective": recipe.objective,
        "mixes_rows": "mix" in ready.reports and ready.reports["mix"].used > 0,
    }


def build(
    worker: Worker,
    plan: Plan,
    ready: TrainingInputs,
    callbacks: list[Any],
    changes: Mapping[str, Any] | None = None,
    *,
    shards: bool = False,
) -> Any:
    """Load the model and return TRL's trainer of the plan's objective, with all rows.

    ``changes`` override TRL's settings made from the plan; ``shards``: several processes share the
    model's weights.
    """
    import torch
    from transformers import PrinterCallback
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if shards:
        sharding.begin(has_gpu=torch.cuda.is_available())
    model, precision = _load(worker, plan, ready.base, shards=shards)
    loss_head.set_decoder(model)
    loss_head.score_trained_tokens_only()
    lora_config = adapter.build_config(worker, plan.recipe, model)
    worker.phase(
        "loading",
        what="trainer",
        precision=precision,
        attention=model.config.get_text_config()._attn_implementation,
    )
    setup = TrainerSetup(
        plan=plan,
        folder=worker.folder,
        ready=ready,
        model=model,
        precision=precision,
        lora_config=lora_config,
        callbacks=callbacks,
        changes=changes or {},
        say=worker.phase,
    )
    objective = OBJECTIVES[plan.recipe.objective]
    trainer = objective.make_trainer(setup)
    trainer.remove_callback(PrinterCallback)  # everything it prints is in the events already
    if lora_config:
        adapter.keep_in_32_bit(trainer.model)
        adapter.name_base(trainer.model, ready.source)
        if initial_weights.load_adapter(worker, trainer.model):
            objective.after_load(trainer.model)
    objective.verify(setup, trainer)
    if shards:
        sharding.attach(trainer, precision)
    return trainer


def _load(worker: Worker, plan: Plan, base: Path, *, shards: bool) -> tuple[Any, str]:
    """Return the model to train and the precision to compute in."""
    worker.phase("loading", what="model")
    runtime.check_device(plan.where.gpu)
    precision = runtime.choose_precision(plan.recipe, model_loading.read_config(base))
    if shards:
        sharding.check_precision(precision)
    attention = runtime.choose_attention(plan.recipe, precision, base)
    runtime.check_kernels(plan.recipe)
    method = plan.recipe.method
    folder = initial_weights.model_folder(worker, method, base)
    model = model_loading.load_to_train(
        folder, method, precision, attention, shards=shards, kernels=plan.recipe.kernels
    )
    return model, precision


def keep_best(
    worker: Worker, plan: Plan, ready: TrainingInputs, reason: str, message: str
) -> TrainResult:
    """Make the best sound checkpoint on disk the result, and record it."""
    folder = worker.folder
    last = checkpoints.all_complete(folder.checkpoints)[-1]
    best = _choose_best(worker)
    path = folder.checkpoints / best.name
    hashes = {} if plan.recipe.method == "full" else adapter.write(folder, path)
    counts = {f"{name}_given": report.rows for name, report in ready.reports.items()}
    counts |= {f"{name}_available": rows for name, rows in ready.available.items()}
    counts |= {f"{name}_used": report.used for name, report in ready.reports.items()}
    trained = TrainResult(
        method=plan.recipe.method,
        reason=reason,
        message=message,
        targets=adapter.read_targets(path),
        step=best.step,
        eval_loss=best.eval_loss,
        eval_reward=best.eval_reward,
        last_step=last.step,
        total_steps=ready.total,
        base=str(ready.base),
        base_name=ready.source.description,
        end_ids=sorted(ready.encoder.end_ids),
        rows=counts | ({"train_packed": len(ready.train)} if plan.recipe.packing else {}),
        left_out={
            name: report.lines_without_loss[: dataset.SHOWN_LINES]
            for name, report in ready.reports.items()
            if report.lines_without_loss
        },
        unreadable=ready.unreadable,
        tokens=last.tokens,
        trainable_text=sorted(ready.encoder.added),
        hashes=hashes,
    )
    write_json(folder.trained, trained)
    return trained


def _choose_best(worker: Worker) -> Checkpoint:
    """Return the best sound checkpoint; report each better one that is damaged."""
    best, damaged = checkpoint_rotation.choose_best(worker.folder.checkpoints)
    for name, files in damaged.items():
        instead = f"The result is {best.name} instead" if best else "No other is left"
        message = f"{checkpoints.describe_damage(name, files)}. {instead}."
        worker.events.write_finding("damaged_checkpoint", message, "warning")
    if best is None:
        raise FtwizardError(
            f"No checkpoint of run {worker.folder.id} is sound, so it has no result.",
            f"To start over: ftwizard resume {worker.folder.id} --from start",
        )
    return best


def _free_space(folder: JobFolder, error: Exception) -> None:
    """If the disk became full during a save, delete the torn checkpoint and raise Outcome.

    Without that space, the run's end could not be recorded.
    """
    if classify_error(error, folder) != "disk_full":
        return
    checkpoint_rotation.move_torn(folder.checkpoints)
    checkpoint_rotation.remove_torn(folder.checkpoints)
    raise EarlyEnd(
        "disk_full",
        f"The disk of {folder.path} is full. The last complete checkpoint is kept.",
    ) from error
