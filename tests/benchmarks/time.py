"""Estimated and published training times: ``python -m tests.benchmarks.time ROWS.csv``.

Prints the ratio of the estimate to the published time for each row whose note has one
(``1.0 s/iter, grad_accum 8`` or ``2147s/5000 steps``). Rows whose length is only a maximum
(``seq_kind``) are shown but not judged: their tokens per pass are unknown.

Known misses: full fine-tunes with DeepSpeed ZeRO at up to 2,048 tokens (Qwen-1.8B), where
gathering the weights takes longer than computing. Of the constants in ``estimate.duration``, MATMUL
and STREAM come from kernel efficiency. LAUNCH_S comes from the published rows of the smallest model
at 256 tokens, and DEQUANTIZE from all 4-bit rows (GPTQ and NF4).

Columns used: id, model, method, gpu, n_gpu, lora_r, lora_targets, micro_batch, seq_len, seq_kind,
grad_ckpt, ce_loss, note.
"""

from __future__ import annotations

import csv
import math
import re
import statistics
import sys

from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.estimate import duration
from ftwizard.estimate.batching import TrainingPasses
from ftwizard.estimate.training_setup import TrainingSetup
from tests.helpers.shapes import PUBLISHED

TARGET, TOKENS = 1.5, 1024
ITERATION = re.compile(r"([\d.]+) ?s/it(?:er)?(?:.*?grad_accum (\d+))?")
WHOLE = re.compile(r"([\d.]+) ?s/(\d+) steps")
METHODS = {"lora": "lora", "qlora": "qlora", "q-lora": "qlora", "full": "full"}


def seconds(note: str) -> tuple[float, int] | None:
    """Return the published seconds per step, and its number of forward passes."""
    if result := ITERATION.search(note):
        return float(result[1]), int(result[2] or 1)
    if result := WHOLE.search(note):
        return float(result[1]) / int(result[2]), 1
    return None


def setup(row: dict[str, str]) -> TrainingSetup | None:
    """Return the training setup of a row, or None if its method is not estimated."""
    method = METHODS.get(row["method"].lower().split("(")[0].split("+")[0].strip(" ()-_"))
    if method is None:
        return None
    short = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}
    named = [short.get(line, line) for line in row["lora_targets"].split("+")]
    return TrainingSetup(
        method=method,  # type: ignore[arg-type]
        rank=int(row["lora_r"] or 16),
        targets=tuple(named) if all(item.endswith("_proj") for item in named) else None,
        batch_size=int(row["micro_batch"]),
        accumulation=1,
        length=int(row["seq_len"]),
        checkpointing=row["grad_ckpt"].startswith("yes"),
        head="tiled" if "chunk" in row["ce_loss"] else "full",
    )


def main(path: str) -> None:
    """Print a line per row, and the median and worst ratio of the judged rows."""
    judged: list[float] = []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        shape, result, how = PUBLISHED.get(row["model"].lower()), find_gpu(row["gpu"]), setup(row)
        published = seconds(row["note"])
        if published is None or shape is None or result is None or how is None:
            continue
        if row["n_gpu"] not in ("", "1"):
            continue
        truth, accumulation = published
        work = TrainingPasses(
            steps_per_epoch=1,
            steps=1,
            passes=accumulation,
            tokens=accumulation * how.tokens,
            padding=0,
            attended=how.length,
            cut=0,
        )
        time = duration.from_gpu_spec(shape, how, result, work)
        assert time is not None and time.low is not None and time.high is not None
        ratio, cap = time.value / truth, "cap" in row["seq_kind"]
        mark = "cap" if cap else "few" if how.tokens < TOKENS else ""
        if not mark:
            judged.append(ratio)
            mark = "ok" if 1 / TARGET <= ratio <= TARGET else "MISS"
        print(
            f"{row['id']:6} {row['model']:14} {how.method:6} {result.name:17} "
            f"{how.tokens:6} tokens  {truth:8.3f} s published  {time.value:8.3f} s "
            f"({time.low:.3f}-{time.high:.3f})  x{ratio:.2f}  {mark}"
        )
    if judged:
        errors = [abs(math.log(ratio)) for ratio in judged]
        within = sum(error <= math.log(TARGET) for error in errors)
        print(
            f"{len(judged)} rows of at least {TOKENS} tokens per pass: within a factor of {TARGET} "
            f"{within}; median factor {math.exp(statistics.median(errors)):.2f}, worst "
            f"{math.exp(max(errors)):.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
