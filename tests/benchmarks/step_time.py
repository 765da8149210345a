"""Step time of the trainer, compared with bare TRL and a plain Trainer, and where the time goes.

All use the same model, tokens, masks, batches and settings, in turn; medians are compared.
Usage: python -m tests.benchmarks.step_time [rows-per-batch]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.train import adapter, trainer
from ftwizard.train.inputs import prepare
from ftwizard.train.objectives import sft
from tests.benchmarks.workbench import bench, create_run

TURNS, STEPS, SETTLING = 3, 6, 1
GROUPS = {
    "matrix products": ("mm", "addmm", "bmm", "linear", "matmul", "mkldnn"),
    "attention": ("attention", "flash"),
    "elementwise and reductions": (
        "mul", "add", "sub", "div", "exp", "sum", "max", "copy", "fill", "where", "lt", "eq", "to",
        "neg", "log", "pow", "rsqrt", "silu", "softmax", "clamp", "zero", "bitwise", "ge", "mean",
    ),
}  # fmt: skip


def settings(worker: Worker, plan: Plan, ready: Any, precision: str) -> Any:
    """Return the shared settings, without evaluation and checkpoints."""
    changes = {"eval_strategy": "no", "save_strategy": "no", "max_steps": STEPS}
    return sft.build_config(
        plan, worker.folder, ready.total, precision, validates=False, changes=changes
    )


def loaded(worker: Worker, plan: Plan, ready: Any) -> tuple[Any, str, Any]:
    """Return the model, its precision and its adapter config."""
    model, precision = trainer._load(worker, plan, ready.base, shards=False)
    return model, precision, adapter.build_config(worker, plan.recipe, model)


def plain(worker: Worker, plan: Plan, ready: Any) -> Any:
    """Return a transformers Trainer, with the model's own loss over all logits."""
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model, precision, lora = loaded(worker, plan, ready)
    model = get_peft_model(model, lora)
    adapter.keep_in_32_bit(model)
    shared = settings(worker, plan, ready, precision)
    names = TrainingArguments.__dataclass_fields__
    args = TrainingArguments(**{
        name: getattr(shared, name) for name, field in names.items()
        if field.init and not name.startswith("_") and name != "deepspeed"
    })  # fmt: skip
    collate = DataCollatorForSeq2Seq(ready.encoder.tokenizer, label_pad_token_id=-100)
    return Trainer(model, args, train_dataset=ready.train, data_collator=collate)


TRL: dict[str, Any] = {}


def bare(worker: Worker, plan: Plan, ready: Any) -> Any:
    """Return TRL's unmodified SFTTrainer."""
    from trl.trainer import utils
    from trl.trainer.sft_trainer import SFTTrainer

    # Undo the patch of ``loss_head.score_trained_tokens_only`` from earlier turns.
    cast(Any, utils)._use_triton = TRL.setdefault("use_triton", cast(Any, utils)._use_triton)
    model, precision, lora = loaded(worker, plan, ready)
    made = SFTTrainer(
        model=model, args=settings(worker, plan, ready, precision), train_dataset=ready.train,
        processing_class=ready.encoder.tokenizer, peft_config=lora,
    )  # fmt: skip
    adapter.keep_in_32_bit(made.model)
    return made


def ours(worker: Worker, plan: Plan, ready: Any) -> Any:
    """Return the trainer of a run, without its callbacks."""
    changes = {"eval_strategy": "no", "save_strategy": "no", "max_steps": STEPS}
    return trainer.build(worker, plan, ready, [], changes)


KINDS: dict[str, Callable[[Worker, Plan, Any], Any]] = {
    "plain Trainer": plain,
    "bare TRL": bare,
    "ftwizard": ours,
}


def steps_of(made: Any) -> list[float]:
    """Train; return the seconds of each step after the warmup."""
    from transformers import PrinterCallback, TrainerCallback

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    made.add_callback(Clock())
    made.remove_callback(PrinterCallback)
    made.train()
    return [b - a for a, b in zip(marks[SETTLING:], marks[SETTLING + 1 :], strict=False)]


def profiled(made: Any) -> dict[str, float]:
    """Train under torch's profiler; return the share of CPU time per group of operations."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as result:
        steps_of(made)
    spent = {
        average.key.removeprefix("aten::").strip("_"): float(average.self_cpu_time_total)
        for average in result.key_averages()
    }
    total = sum(spent.values())
    shares: dict[str, float] = {}
    for name, took in spent.items():
        word = name.removesuffix("_out").rstrip("_")
        group = next((g for g, parts in GROUPS.items() if any(p in word for p in parts)), "other")
        shares[group] = shares.get(group, 0.0) + took / total
    return shares


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    took: dict[str, list[float]] = {name: [] for name in KINDS}
    with bench(batch_size=batch) as (path, plan):
        worker = Worker(create_run(path, plan))
        ready = prepare(worker, plan)
        rows = ready.encoded["train"]
        tokens = sum(len(row.input_ids) for row in rows)
        trained = sum(label != -100 for row in rows for label in row.labels)
        print(f"{len(rows)} rows, {tokens:,} tokens, {trained / tokens:.0%} of them trainable")
        for _ in range(TURNS):
            for name, make in KINDS.items():
                took[name] += steps_of(make(worker, plan, ready))
        middle = {name: statistics.median(all_) for name, all_ in took.items()}
        for name, seconds in middle.items():
            low, high = min(took[name]), max(took[name])
            ratio = seconds / middle["plain Trainer"]
            print(f"{name:<14} {seconds:.3f} s per step ({low:.3f}–{high:.3f}), ratio {ratio:.2f}")
        for name, make in KINDS.items():
            shares = sorted(profiled(make(worker, plan, ready)).items(), key=lambda item: -item[1])
            print(f"{name:<14} " + ", ".join(f"{group} {part:.0%}" for group, part in shares))
        worker.events.close()


if __name__ == "__main__":
    main()
