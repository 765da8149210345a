"""Time from the command to the first finished step, compared with bare TRL.

Limit: bare TRL + 1 s. Both use the same model and rows and start a new Python, in turn; medians are
compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ftwizard.jobs.folder import JobFolder
from tests.benchmarks.workbench import bench
from tests.helpers.jobs import events, until_ended

RUNS = 3
LIMIT_S = 1.0
BARE = """
import json, sys, time
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
model, data, out, precision = sys.argv[1:]

class First(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        print("first", time.time(), flush=True)
        control.should_training_stop = True

rows = [json.loads(line) for line in open(data)]
config = SFTConfig(out, per_device_train_batch_size=4, logging_steps=1, report_to="none",
                   bf16=precision == "bf16", use_cpu=True, gradient_checkpointing=False,
                   disable_tqdm=True, max_length=1024,
                   model_init_kwargs={"dtype": "bfloat16" if precision == "bf16" else "float32"})
lora = LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
SFTTrainer(model, config, train_dataset=Dataset.from_list(rows), peft_config=lora,
           callbacks=[First()]).train()
"""


def bare(model: str, data: str, out: Path, precision: str) -> float:
    """Return the seconds from exec to the first step of a bare TRL script."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", BARE, model, data, str(out), precision],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("first "))
    return float(line.split()[1]) - began


def ours(plan: Path, home: Path, name: str) -> float:
    """Return the seconds from ``ftwizard train`` to its first logged step."""
    began = time.time()
    program = str(Path(sys.executable).with_name("ftwizard"))
    subprocess.run(
        [program, "train", str(plan), "--name", name], check=True, stdout=subprocess.DEVNULL
    )
    folder = JobFolder(home / "runs" / name)
    while not (logs := events(folder, "log")):
        time.sleep(0.05)
    subprocess.run([program, "stop", "--kill", name], check=True, capture_output=True)
    until_ended(folder)
    return float(logs[0]["t"]) - began


def main() -> None:
    from ftwizard.hardware.machine import has_bfloat16_cpu

    precision = "bf16" if has_bfloat16_cpu() else "fp32"
    theirs, us = [], []
    with bench() as (path, plan):
        home = path.parent
        for number in range(RUNS):
            theirs.append(
                bare(plan.model.name, plan.data.files.train, home / f"trl{number}", precision)
            )
            us.append(ours(path, home, f"run{number}"))
    print(json.dumps({"bare_trl_s": theirs, "ftwizard_s": us}))
    base, own = statistics.median(theirs), statistics.median(us)
    print(f"bare TRL {base:.2f} s, ftwizard {own:.2f} s = {own / base:.2f}x; "
          f"{own - base:+.2f} s of {LIMIT_S:+.2f} s allowed")  # fmt: skip


if __name__ == "__main__":
    main()
