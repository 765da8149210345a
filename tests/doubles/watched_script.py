"""A person's own TRL script, which adds ``WatchCallback`` and nothing else of ftwizard.

``python -m tests.doubles.watched_script MODEL OUTPUT [OPTIONS]``
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

from ftwizard import WatchCallback

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "bird", "fly", "over"]


class Brake(TrainerCallback):
    """Slows each step, and raises at one."""

    def __init__(self, seconds: float, crash_at: int) -> None:
        self._seconds, self._crash_at = seconds, crash_at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        time.sleep(self._seconds)
        if state.global_step == self._crash_at:
            raise RuntimeError("the disk of the reward server is full of braces {}")


def _rows(count: int) -> Dataset:
    return Dataset.from_list(
        [
            {"messages": [
                {"role": "user", "content": f"{n}: " + " ".join(WORDS[: 1 + n * 5 % 11])},
                {"role": "assistant", "content": " ".join(WORDS[n % 5 : n % 5 + 1 + n % 4])},
            ]}
            for n in range(count)
        ]
    )  # fmt: skip


def main() -> None:
    """Train as the options say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("output")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step-s", type=float, default=0.0)
    parser.add_argument("--crash-at", type=int, default=0)
    parser.add_argument("--name")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--no-eval", action="store_true")
    parser.add_argument("--first-rank-only", action="store_true")
    options = parser.parse_args()
    config = SFTConfig(
        output_dir=options.output,
        max_steps=options.steps,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_steps=4,
        eval_strategy="no" if options.no_eval else "steps",
        eval_steps=4,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        options.model,
        args=config,
        train_dataset=_rows(32),
        eval_dataset=None if options.no_eval else _rows(6),
        callbacks=[Brake(options.step_s, options.crash_at)],
    )
    if not options.first_rank_only or trainer.is_world_process_zero():
        trainer.add_callback(WatchCallback(options.name))
    trainer.train(resume_from_checkpoint=options.resume)
    print(f"the script's own last line, at step {trainer.state.global_step}", flush=True)


if __name__ == "__main__":
    main()
