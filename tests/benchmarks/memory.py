"""Estimated and published memory peaks: ``python -m tests.benchmarks.memory PEAKS.csv``.

Each row is estimated twice: as ``ftwizard estimate`` prints it, for ftwizard's own trainer, and for the
framework that was measured. The CSV has one published measurement per row (columns ``model``, ``method``, ``framework``,
``lora_r``, ``lora_targets``, ``micro_batch``, ``seq_len``, ``grad_ckpt``, ``ce_loss``,
``value_gib_per_gpu``, ``stat``, ``quality``, …). Each row becomes a shape, a setup and the memory
behavior of its framework, taken from the framework's source; nothing is fitted to the values.
Two common formulas are measured on the same rows.
"""

from __future__ import annotations

import csv
import re
import statistics
import sys
from pathlib import Path
from typing import Any, cast

import msgspec

from ftwizard.estimate.memory import GIB, estimate_memory
from ftwizard.estimate.training_setup import Counter, FrameworkOverhead, TrainingSetup
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import Linear, ModelShape

Row = dict[str, str]
_SIZES: dict[str, tuple[str, tuple[int, ...], bool]] = {
    # name: model_type, (hidden, layers, heads, kv heads, intermediate, vocabulary, head width), tied
    "llama-3.2-1b": ("llama", (2048, 16, 32, 8, 8192, 128256, 64), True),
    "llama-3.2-3b": ("llama", (3072, 28, 24, 8, 8192, 128256, 128), True),
    "llama-3.1-8b": ("llama", (4096, 32, 32, 8, 14336, 128256, 128), False),
    "llama-3-8b": ("llama", (4096, 32, 32, 8, 14336, 128256, 128), False),
    "llama-3.1-70b": ("llama", (8192, 80, 64, 8, 28672, 128256, 128), False),
    "llama-3-70b": ("llama", (8192, 80, 64, 8, 28672, 128256, 128), False),
    "llama-2-7b": ("llama", (4096, 32, 32, 32, 11008, 32000, 128), False),
    "llama-2-13b": ("llama", (5120, 40, 40, 40, 13824, 32000, 128), False),
    "llama-2-70b": ("llama", (8192, 80, 64, 8, 28672, 32000, 128), False),
    "codellama-34b": ("llama", (8192, 48, 64, 8, 22016, 32000, 128), False),
    "tinyllama-1.1b": ("llama", (2048, 22, 32, 4, 5632, 32000, 64), False),
    "mistral-7b": ("mistral", (4096, 32, 32, 8, 14336, 32000, 128), False),
    "gemma-2b": ("gemma", (2048, 18, 8, 1, 16384, 256000, 256), True),
    "gemma-7b": ("gemma", (3072, 28, 16, 16, 24576, 256000, 256), True),
    "gemma-2-2b": ("gemma2", (2304, 26, 8, 4, 9216, 256000, 256), True),
    "gemma-2-9b": ("gemma2", (3584, 42, 16, 8, 14336, 256000, 256), True),
    "qwen2.5-0.5b": ("qwen2", (896, 24, 14, 2, 4864, 151936, 64), True),
    "qwen2.5-1.5b": ("qwen2", (1536, 28, 12, 2, 8960, 151936, 128), True),
    "qwen2.5-3b": ("qwen2", (2048, 36, 16, 2, 11008, 151936, 128), True),
    "qwen2.5-7b": ("qwen2", (3584, 28, 28, 4, 18944, 152064, 128), False),
    "qwen2.5-14b": ("qwen2", (5120, 48, 40, 8, 13824, 152064, 128), False),
    "qwen2.5-32b": ("qwen2", (5120, 64, 40, 8, 27648, 152064, 128), False),
    "qwen-1.8b": ("qwen", (2048, 24, 16, 16, 5504, 151936, 128), False),
    "qwen-7b": ("qwen", (4096, 32, 32, 32, 11008, 151936, 128), False),
    "qwen-14b": ("qwen", (5120, 40, 40, 40, 13696, 152064, 128), False),
    "qwen-72b": ("qwen", (8192, 80, 64, 64, 24576, 152064, 128), False),
}


def shape_of(model: str) -> ModelShape | None:
    """Return the shape of a published model, or None if it is unknown."""
    name = re.sub(r"(-instruct|-chat|-hf|-it|-base|-v0\.\d)+$", "", model.lower())
    name = name.rpartition("/")[2].replace("meta-", "").replace("llama-3-2", "llama-3.2")
    if name not in _SIZES:
        return None
    kind, (hidden, layers, heads, kv, wide, words, width), tied = _SIZES[name]
    config = {
        "model_type": "llama" if kind == "qwen" else kind, "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "intermediate_size": wide, "vocab_size": words, "head_dim": width,
        "tie_word_embeddings": tied,
    }  # fmt: skip
    shape = build_shape(config, model)
    return _first_qwen(shape) if kind == "qwen" else shape


def _first_qwen(shape: ModelShape) -> ModelShape:
    """Return the shape with the layer names of the first Qwen, with a fused query, key and value.

    Source: modeling_qwen.py on the Hub; c_attn has a bias.
    """
    hidden, wide, n = shape.hidden, shape.intermediate, shape.layers

    def linear(name: str, inputs: int, outputs: int) -> Linear:
        return Linear(name=name, inputs=inputs, outputs=outputs, count=n, active=n)

    linears = (
        linear("c_attn", hidden, 3 * hidden), linear("c_proj", hidden, hidden),
        linear("w1", hidden, wide), linear("w2", hidden, wide), linear("c_proj", wide, hidden),
    )  # fmt: skip
    return msgspec.structs.replace(
        shape, linears=linears, parameters=shape.parameters + n * 3 * hidden
    )


def stack_of(row: Row) -> FrameworkOverhead | None:
    """Return the memory overhead of the framework of a row, or None if it is unknown."""
    framework, stat = row["framework"].lower(), row["stat"].lower()
    counter: Counter = "device"
    if "allocated" in stat or "active" in stat:
        counter = "allocated"
    elif "reserved" in stat:
        counter = "reserved"
    double = not re.search(r"nf4(?!-dq)", row["quant"]) or "litgpt" not in framework
    pure = {
        "adapter_bytes": 2, "full_bytes": 2, "autocast": False, "counter": counter,
        "packed_bytes": 0.515869 if double else 0.5625,
    }  # fmt: skip
    stacks: dict[str, dict[str, Any]] = {
        # Logits in 128-token chunks, all kept; the loss of each chunk keeps a 16-bit softmax.
        # LoRA dropout 0.05 (config_hub). Source: litgpt/utils.py, chunked_cross_entropy.
        "litgpt": {**pure, "logit_bytes": 4.0, "padded": False},
        # No autocast, fp32 adapters without dropout; the loop holds the outputs over backward;
        # torch.optim.AdamW. Source: method_comparison/MetaMathQA/run.py.
        "transformers+peft": {
            **pure, "adapter_bytes": 4, "logit_bytes": 14.0,
            "stranded_bytes": 0.0, "fused_optimizer": False,
        },
        # All bf16; logits are deleted before backward; packed. Source: recipes/full_finetune_*.py.
        "torchtune": {**pure, "padded": False},
        # bf16 throughout, LoRA dropout 0.1; transformers 4.38 converts logits to fp32, and the
        # loop keeps them. Source: train.py.
        "fsdp_qlora": {**pure, "logit_bytes": 16.0, "padded": False},
        # transformers' Trainer with autocast, 32-bit adapters, dropout 0.05; flash attention;
        # adamw_torch, which is not fused; CUDA 11; the loss copies the shifted 16-bit logits.
        # Source: finetune.py, and modeling_qwen.py on the Hub.
        "qwen": {
            "counter": counter, "padded": False, "fused_optimizer": False,
            "context_bytes": 1343 * 2**20, "stranded_bytes": 4.0,
        },
    }  # fmt: skip
    for name, habits in stacks.items():
        if framework.startswith(name):
            return FrameworkOverhead(**habits)
    return None


def setup_of(row: Row) -> TrainingSetup | None:
    """Return the training setup of a row, or None if its method is unknown."""
    method = row["method"].lower().replace("_", "-")
    if method not in ("lora", "qlora", "q-lora", "full"):
        return None
    tiled = "chunk" in row["ce_loss"] and not row["framework"].startswith("litgpt")
    # torchtune's QLoRA recipe: rank 8 and checkpointing, if the row has no value.
    dropout = not row["framework"].lower().startswith(("transformers+peft", "torchtune"))
    checkpointing = "yes" if row["grad_ckpt"] in ("", "unstated") else row["grad_ckpt"]
    accumulated = re.search(r"grad_accum (\d+)", row["note"])
    return TrainingSetup(
        method=cast("Any", "qlora" if method.startswith("q") else method),
        rank=int(float(row["lora_r"] or 8)),
        targets=_targets(row["lora_targets"]),
        batch_size=int(float(row["micro_batch"])),
        accumulation=int(accumulated[1]) if accumulated else 1,
        length=int(float(row["seq_len"])),
        checkpointing=checkpointing.startswith("yes"),
        head="tiled" if tiled else "full",
        dropout=dropout,
    )


def _targets(text: str) -> tuple[str, ...] | None:
    if not text or text.startswith("all"):
        return None
    short = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"}
    return tuple(short.get(name.strip(), name.strip()) for name in text.split("+"))


def peers(shape: ModelShape, setup: TrainingSetup) -> tuple[float, float]:
    """Return the GiB of LLaMA-Factory's table and of accelerate's estimate-memory.

    The table (README): 16 bytes per parameter for full fine-tuning, 2 for LoRA, 0.5 for QLoRA.
    accelerate: the weights alone, four times for Adam.
    """
    table = {"full": 16.0, "lora": 2.0, "qlora": 0.5}[setup.method]
    weights = {"full": 8.0, "lora": 2.0, "qlora": 0.5}[setup.method]
    return table * shape.parameters / GIB, weights * shape.parameters / GIB


def main(path: str) -> None:
    """Print each row and the summary."""
    errors: list[float] = []
    printed: list[float] = []
    printed_inside: list[bool] = []
    inside: list[bool] = []
    widths: list[float] = []
    others: list[list[float]] = [[], []]
    print(
        f"{'row':6}{'published':>10}{'printed':>8}{'ours':>8}{'low':>8}{'high':>8}{'error':>8}  row"
    )
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            shape, setup, stack = shape_of(row["model"]), setup_of(row), stack_of(row)
            subject = f"{row['model']} {row['method']} {row['framework']} {row['micro_batch']}×"
            subject += row["seq_len"]
            if shape is None or setup is None or stack is None:
                print(f"{row['id']:6}{'not mapped':>50}  {subject}")
                continue
            truth = float(row["value_gib_per_gpu"])
            peak = estimate_memory(shape, setup, gpus=int(row["n_gpu"] or 1), stack=stack).peak
            own = estimate_memory(
                shape, msgspec.structs.replace(setup, head="tiled", dropout=True)
            ).peak
            middle, low, high = peak.value / GIB, (peak.low or 0) / GIB, (peak.high or 0) / GIB
            error = middle / truth - 1
            bad = row["quality"] == "X"
            mark = "excluded: the row contradicts itself" if bad else ""
            mark = mark or ("" if low <= truth <= high else "outside")
            print(
                f"{row['id']:6}{truth:10.2f}{own.value / GIB:8.2f}{middle:8.2f}{low:8.2f}{high:8.2f}{error:+8.1%}  "
                f"{subject} {mark}"
            )
            if bad:
                continue
            errors.append(abs(error))
            printed.append(abs(own.value / GIB / truth - 1))
            printed_inside.append(own.lowest / GIB <= truth <= own.highest / GIB)
            inside.append(low <= truth <= high)
            widths.append(high / low)
            for result, other in zip(others, peers(shape, setup), strict=True):
                result.append(abs(other / truth - 1))
    print(
        f"\n{len(errors)} rows, as ftwizard estimate prints them: median error "
        f"{statistics.median(printed):.1%}, mean {statistics.mean(printed):.1%}, worst "
        f"{max(printed):.1%}; inside the range {statistics.mean(printed_inside):.0%}"
    )
    print(
        f"with the settings of the framework that was measured: median error {statistics.median(errors):.1%}, "
        f"mean {statistics.mean(errors):.1%}, worst {max(errors):.1%}; "
        f"inside the range {statistics.mean(inside):.0%}; "
        f"high/low at most {max(widths):.2f}, median {statistics.median(widths):.2f}"
    )
    for name, result in zip(("LLaMA-Factory's table", "accelerate"), others, strict=True):
        print(f"{name}: median error {statistics.median(result):.1%}")


if __name__ == "__main__":
    main(sys.argv[1])
