"""A fine-tune on this machine, from the plan to the best weights. Read it top to bottom."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import models
from ftwizard import plan as plans
from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD, reason_of
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Ended, Outcome, Worker
from ftwizard.plan import Plan, Recipe
from ftwizard.train import (
    adapter,
    base_model,
    checkpoints,
    hardware,
    heldout,
    record,
    rows,
    schedule,
    sft_config,
    targets,
)
from ftwizard.train.record import Trained
from ftwizard.train.tokenise import Encoded, Encoder


def run(worker: Worker) -> Ended:
    """Train and finish as the plan says."""
    plan = plans.load(worker.folder.plan)
    began = time.monotonic()
    trained = record.read(worker.folder)
    if trained is None or trained.reason not in GOOD:
        trained = train(worker, plan)
    result: dict[str, Any] = {"training": msgspec.to_builtins(trained)}
    if trained.reason in GOOD:
        from ftwizard.finish import finish

        result |= finish(worker, plan, trained)
        checkpoints.remove_torn(worker.folder.checkpoints)
    result["seconds"] = round(time.monotonic() - began, 1)
    return Ended(trained.reason, result, trained.message)


def train(worker: Worker, plan: Plan) -> Trained:
    """Train, and leave the best weights in ``adapter/``, or in their checkpoint if they are all."""
    folder, recipe = worker.folder, plan.recipe
    # 1. Rows first: bad data should not wait for gigabytes of weights.
    worker.phase("reading")
    parts = rows.load(plan, worker.record.hashes)
    if plan.finish.compare:
        heldout.keep(folder, parts)

    # 2. The base model, fetched if need be.
    worker.phase("fetching")
    source = msgspec.convert(worker.record.inputs["model"], models.Source)
    base = models.fetch(source, rows.progress(worker, "fetching"))

    # 3. Libraries, then the tokens, proved.
    worker.phase("loading", what="libraries")
    from transformers import AutoTokenizer

    worker.phase("tokenising")
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoder = Encoder(tokenizer, base_model.stop_ids(base))
    encoded, reports = rows.encode(worker, encoder, parts, recipe.max_length)

    # 4. The training, unless an earlier attempt came to its end and only the rest is left.
    for name in checkpoints.set_torn_aside(folder.checkpoints):
        worker.events.write(
            "finding",
            code="torn_checkpoint",
            severity="info",
            message=f"{name} was not complete (a kill in the middle); it was set aside.",
        )
    total = schedule.total_steps(
        len(encoded["train"]), recipe.batch_size, recipe.gradient_accumulation, recipe.epochs
    )
    reason, message = ended_before(worker, plan, total), ""
    if reason is None:
        reason, message = fit(worker, plan, base, source, tokenizer, encoded)

    # 5. The best weights that are on disk are the result.
    kept = checkpoints.all_complete(folder.checkpoints)
    chosen = checkpoints.best(kept) or kept[-1]
    if recipe.method != "full":
        adapter.write(folder, folder.checkpoints / chosen.name)
    trained = Trained(
        method=recipe.method,
        reason=reason,
        message=message,
        step=chosen.step,
        eval_loss=chosen.eval_loss,
        last_step=kept[-1].step,
        total_steps=total,
        base=str(base),
        base_said=source.said,
        end_ids=sorted(encoder.end_ids),
        targets=adapter.reached(folder.checkpoints / chosen.name),
        rows={f"{name}_given": report.rows for name, report in reports.items()}
        | {f"{name}_used": report.kept for name, report in reports.items()},
        tokens=kept[-1].tokens,
        template_added=sorted(encoder.added),
    )
    record.write(folder, trained)
    return trained


def ended_before(worker: Worker, plan: Plan, total: int) -> str | None:
    """Return how the training ended in an earlier attempt, None if it has steps to do.

    A kill between the last checkpoint and the record of the result leaves a training that is over: a trainer
    that is resumed there would do a step too many.
    """
    if worker.checkpoint is None:
        return None
    path = worker.folder.path / worker.checkpoint
    history = json.loads((path / "trainer_state.json").read_text())
    if history["global_step"] >= total:
        return "finished"
    patience = schedule.Patience(plan.recipe.patience)
    patience.replay(history["log_history"], history.get("eval_steps") or 1)
    return "early_stopped" if patience.is_used_up else None


def fit(
    worker: Worker,
    plan: Plan,
    base: Path,
    source: models.Source,
    tokenizer: Any,
    encoded: dict[str, list[Encoded]],
) -> tuple[str, str]:
    """Train from the attempt's checkpoint to the end; return the end reason and a word on it."""
    from datasets import Dataset
    from transformers.utils import logging
    from trl.trainer.sft_trainer import SFTTrainer

    from ftwizard.train.callbacks import Keeping, OverfitDetector, Recorder, Steering

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder, recipe = worker.folder, plan.recipe
    # The model, in the precision that the hardware multiplies.
    worker.phase("loading", what="model")
    hardware.check_device(plan.where.gpu)
    precision = hardware.choose_precision(recipe.precision, recipe.method)
    model = base_model.load_to_train(base, recipe.method, precision)
    settings = _adapter(worker, recipe, model)

    # The trainer, with us beside it.
    checkpoint = folder.path / worker.checkpoint if worker.checkpoint else None
    marker = checkpoints.read(checkpoint) if checkpoint else None
    validates = bool(encoded["validation"])
    recorder = Recorder(worker, marker.tokens if marker else 0)
    steering = Steering(worker, plan.budget.hours)
    detector = OverfitDetector(worker, recipe.patience)
    trainer = SFTTrainer(
        model=model,
        args=sft_config.build(plan, folder, len(encoded["train"]), precision, validates=validates),
        train_dataset=Dataset.from_dict(_columns(encoded["train"])),
        eval_dataset=Dataset.from_dict(_columns(encoded["validation"])) if validates else None,
        processing_class=tokenizer,
        peft_config=settings,
        callbacks=[recorder, steering, detector, Keeping(worker, recorder)],
    )
    _reconcile(trainer.train_dataset, len(encoded["train"]))
    _reconcile(trainer.eval_dataset or [], len(encoded["validation"]))
    if settings:
        adapter.keep_in_32_bit(trainer.model)
        adapter.name_base(trainer.model, source)

    # From here on a TERM saves before it ends.
    worker.check_stop()
    worker.saves_itself = True
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        _make_room(folder, error)
        raise
    finally:
        worker.saves_itself = False
    if steering.end_reason == "nan":
        raise Outcome("nan", steering.message)
    del trainer, model
    gc.collect()
    if steering.end_reason:
        return steering.end_reason, steering.message
    return ("early_stopped" if detector.fired else "finished"), ""


def _adapter(worker: Worker, recipe: Recipe, model: Any) -> Any:
    """Return peft's settings, said in the events; None where all weights are trained."""
    if recipe.method == "full":
        return None
    found = targets.resolve(model, recipe.target_modules)
    worker.phase(
        "loading",
        what="adapter",
        target_modules=found.modules,
        target_parameters=found.parameters,
    )
    for code, message in adapter.findings(recipe, found):
        worker.events.write("finding", code=code, severity="info", message=message)
    return adapter.config(recipe, found)


def _columns(part: list[Encoded]) -> dict[str, list[list[int]]]:
    return {"input_ids": [r.input_ids for r in part], "labels": [r.labels for r in part]}


def _reconcile(dataset: Any, given: int) -> None:
    """Raise FtwizardError if the trainer holds other rows than it was given."""
    held = len(dataset)
    if held != given:
        raise FtwizardError(
            f"{given:,} rows were given to the trainer, {held:,} are in it.",
            "This is a fault of ftwizard with this version of TRL; please report it.",
        )


def _make_room(folder: JobFolder, error: Exception) -> None:
    """After a full disk ended a save, remove the torn checkpoint so that the end can be told."""
    if reason_of(error, folder) != "disk_full":
        return
    checkpoints.set_torn_aside(folder.checkpoints)
    checkpoints.remove_torn(folder.checkpoints)
    raise Outcome(
        "disk_full",
        f"The disk that holds {folder.path} is full; the last complete checkpoint is kept.",
    ) from error
