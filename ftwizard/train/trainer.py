"""A fine-tune on this machine, from the plan to the best weights. Read it top to bottom."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import checkpoints, models
from ftwizard import plan as plans
from ftwizard.data.read import Row
from ftwizard.jobs.ending import GOOD, reason_of
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Ended, Outcome, Worker
from ftwizard.plan import Plan
from ftwizard.train import (
    actual,
    adapter,
    base_model,
    budget,
    hardware,
    head,
    heldout,
    origin,
    packing,
    prediction,
    prompts,
    quiet,
    record,
    room,
    rows,
    saved,
    schedule,
    sft_config,
)
from ftwizard.train.meter import Meter
from ftwizard.train.prompts import Asked
from ftwizard.train.record import Trained
from ftwizard.train.tokenise import Encoded, Encoder, Report


class Prepared(NamedTuple):
    """All that a training needs but the model in memory."""

    source: models.Source
    base: Path
    encoder: Encoder
    encoded: dict[str, list[Encoded]]
    reports: dict[str, Report]
    unreadable: dict[str, int]
    """Rows of each file that were skipped."""
    train: Any
    """The ``datasets.Dataset`` that is trained on, packed if the plan says so."""
    total: int
    """Optimizer steps of the whole training."""
    validation: Sequence[Row] = ()
    """The rows that validate, as they were read."""
    asked: Sequence[Asked] = ()
    """The prompts of the samples."""


def run(worker: Worker) -> Ended:
    """Train and finish as the plan says."""
    plan = plans.load(worker.folder.plan, begun=True)
    began = time.monotonic()
    trained = record.read(worker.folder)
    if trained is None or trained.reason not in GOOD:
        trained = train(worker, plan)
    result: dict[str, Any] = {"training": msgspec.to_builtins(trained)}
    if trained.reason in GOOD:
        from ftwizard.finish import finish

        result |= finish(worker, plan, trained)
        saved.remove_torn(worker.folder.checkpoints)
    result["seconds"] = round(time.monotonic() - began, 1)
    result |= msgspec.to_builtins(actual.against_prediction(worker.folder, trained))
    return Ended(trained.reason, result, trained.message)


def train(worker: Worker, plan: Plan) -> Trained:
    """Train, and leave the best weights in ``adapter/``, or in their checkpoint if they are all."""
    ready = prepare(worker, plan)
    for name in saved.set_torn_aside(worker.folder.checkpoints):
        worker.events.write(
            "finding",
            code="torn_checkpoint",
            severity="info",
            message=f"{name} was not complete (a kill in the middle); it was set aside.",
        )
    # Unless an earlier attempt came to its end and only the rest is left.
    reason, message = ended_before(worker, plan, ready.total), ""
    if reason is None:
        reason, message = fit(worker, plan, ready)
    return keep_best(worker.folder, plan, ready, reason, message)


def prepare(worker: Worker, plan: Plan, *, keeps: bool = True) -> Prepared:
    """Read the rows, fetch the model, and turn the rows into tokens, proved.

    Unless it ``keeps``, nothing is written down, nor room asked for that weights would need.
    """
    recipe = plan.recipe
    # Rows first: bad data should not wait for gigabytes of weights.
    worker.phase("reading")
    unreadable: dict[str, int] = {}
    parts = rows.load(plan, worker.record.hashes, rows.said_by(worker, unreadable))
    rows.say_shortage(worker, plan, parts)
    if keeps and plan.finish.compare:
        heldout.keep(worker.folder, parts)

    worker.phase("fetching")
    source = msgspec.convert(worker.record.inputs["model"], models.Source)
    base = models.fetch(source, rows.progress(worker, "fetching"))
    if keeps:
        room.check(worker.folder, plan, base)

    worker.phase("loading", what="libraries")
    quiet.libraries()
    base_model.load_config(base)  # a model that cannot be loaded is refused before its rows

    worker.phase("tokenising")
    encoder = Encoder(base_model.load_tokenizer(base), base_model.stop_ids(base))
    encoded, reports = rows.encode(worker, encoder, parts, recipe.max_length)
    if message := rows.check_lengths(base, encoded):
        worker.events.write("finding", code="beyond_positions", severity="warning", message=message)
    data = packing.dataset(encoded["train"], pack_to=recipe.max_length if recipe.packing else None)
    if recipe.packing:
        worker.phase("tokenising", what="packing", rows=len(encoded["train"]), packed=len(data))
    total = schedule.total_steps(
        len(data), recipe.batch_size, recipe.gradient_accumulation, recipe.epochs
    )
    validation = parts["validation"]
    asked = (
        prompts.choose(worker, plan, encoder, validation, encoded["validation"]) if keeps else []
    )
    return Prepared(
        source, base, encoder, encoded, reports, unreadable, data, total, validation, asked
    )


def ended_before(worker: Worker, plan: Plan, total: int) -> str | None:
    """Return how the training ended in an earlier attempt, None if it has steps to do.

    A kill between the last checkpoint and the record of the result leaves a training that is over:
    a trainer that is resumed there would do a step too many.
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


def fit(worker: Worker, plan: Plan, ready: Prepared) -> tuple[str, str]:
    """Train from the attempt's checkpoint to the end; return the end reason and a word on it."""
    import trl.trainer.sft_trainer  # noqa: F401 (before the meter: libraries are no model)

    from ftwizard.train.callbacks import Keeping, OverfitDetector, Recorder, Steering
    from ftwizard.train.diagnosing import Diagnosing
    from ftwizard.train.watching import Watching

    folder = worker.folder
    checkpoint = folder.path / worker.checkpoint if worker.checkpoint else None
    marker = checkpoints.read(checkpoint) if checkpoint else None
    meter = Meter()
    recorder = Recorder(worker, marker.tokens if marker else 0, meter)
    steering = Steering(worker, budget.limits(worker, plan))
    detector = OverfitDetector(worker, plan.recipe.patience)
    watching = Watching(worker, plan, ready)
    told = [watching.first, recorder, *watching.after]
    beside = [*told, steering, Diagnosing(worker), detector, Keeping(worker, recorder)]
    trainer = build(worker, plan, ready, beside)
    watching.attach(trainer)
    prediction.say(worker, plan, ready, trainer.model)

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
    del trainer, watching, told, beside  # they hold each other, and the model
    gc.collect()
    if steering.end_reason:
        return steering.end_reason, steering.message
    return ("early_stopped" if detector.fired else "finished"), ""


def build(
    worker: Worker,
    plan: Plan,
    ready: Prepared,
    callbacks: list[Any],
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """Return TRL's trainer on the loaded model, with every row in it.

    ``changes`` are settings of TRL's that differ from the plan's.
    """
    from transformers import PrinterCallback
    from transformers.utils import logging
    from trl.trainer.sft_trainer import SFTTrainer

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model, precision = _load(worker, plan, ready.base)
    head.give_decoder(model)
    head.score_trained_tokens_only()
    settings = adapter.settings(worker, plan.recipe, model)
    worker.phase(
        "loading",
        what="trainer",
        precision=precision,
        attention=model.config.get_text_config()._attn_implementation,
    )
    validation = ready.encoded["validation"]
    trainer = SFTTrainer(
        model=model,
        args=sft_config.build(
            plan,
            worker.folder,
            ready.total,
            precision,
            validates=bool(validation),
            changes={**head.unbalanced(model), **(changes or {})},
        ),
        train_dataset=ready.train,
        eval_dataset=packing.dataset(validation) if validation else None,
        processing_class=ready.encoder.tokenizer,
        peft_config=settings,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # every figure is in the events already
    packing.reconcile(trainer.train_dataset, ready.encoded["train"])
    packing.reconcile(trainer.eval_dataset, validation)
    if settings:
        adapter.keep_in_32_bit(trainer.model)
        adapter.name_base(trainer.model, ready.source)
        origin.give_adapter(worker, trainer.model)
    head.prove(trainer, ready.encoded["train"])
    if plan.recipe.packing:
        packing.prove(trainer, ready.encoded["train"], precision)
    return trainer


def _load(worker: Worker, plan: Plan, base: Path) -> tuple[Any, str]:
    """Return the model to train and the precision that it computes in."""
    worker.phase("loading", what="model")
    hardware.check_device(plan.where.gpu)
    precision = hardware.choose_precision(plan.recipe, base_model.refuse_quantised(base))
    attention = hardware.choose_attention(plan.recipe, precision, base)
    begin = origin.base(worker, plan.recipe.method, base)
    return base_model.load_to_train(begin, plan.recipe.method, precision, attention), precision


def keep_best(folder: JobFolder, plan: Plan, ready: Prepared, reason: str, message: str) -> Trained:
    """Make the best weights that are on disk the result, and record it."""
    kept = checkpoints.all_complete(folder.checkpoints)
    chosen = checkpoints.best(kept) or kept[-1]
    path = folder.checkpoints / chosen.name
    if plan.recipe.method != "full":
        adapter.write(folder, path)
    counts = {f"{name}_given": report.rows for name, report in ready.reports.items()}
    counts |= {f"{name}_used": report.kept for name, report in ready.reports.items()}
    trained = Trained(
        method=plan.recipe.method,
        reason=reason,
        message=message,
        targets=adapter.reached(path),
        step=chosen.step,
        eval_loss=chosen.eval_loss,
        last_step=kept[-1].step,
        total_steps=ready.total,
        base=str(ready.base),
        base_said=ready.source.said,
        end_ids=sorted(ready.encoder.end_ids),
        rows=counts | ({"train_packed": len(ready.train)} if plan.recipe.packing else {}),
        left_out={
            name: report.lost[: rows.SHOWN_LINES]
            for name, report in ready.reports.items()
            if report.lost
        },
        unreadable=ready.unreadable,
        tokens=kept[-1].tokens,
        template_added=sorted(ready.encoder.added),
    )
    record.write(folder, trained)
    return trained


def _make_room(folder: JobFolder, error: Exception) -> None:
    """After a full disk ended a save, remove the torn checkpoint so that the end can be told."""
    if reason_of(error, folder) != "disk_full":
        return
    saved.set_torn_aside(folder.checkpoints)
    saved.remove_torn(folder.checkpoints)
    raise Outcome(
        "disk_full",
        f"The disk that holds {folder.path} is full; the last complete checkpoint is kept.",
    ) from error
