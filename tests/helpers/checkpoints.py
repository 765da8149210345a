"""Minimal checkpoints, written without a training."""

from __future__ import annotations

import json
from pathlib import Path

from ftwizard.train import checkpoint_rotation


def save(root: Path, step: int, eval_loss: float | None = None, *, marked: bool = True) -> Path:
    """Write the smallest valid checkpoint below ``root``."""
    folder = root / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(16)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    for name in (
        "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin",
    ):  # fmt: skip
        (folder / name).write_bytes(b"{}" * 20)
    if marked:
        checkpoint_rotation.mark_complete(folder, step=step, attempt=1, eval_loss=eval_loss)
    return folder


def flip_bit(file: Path, index: int = -1) -> None:
    """Flip the lowest bit of one byte, by default of the last; the file keeps its size."""
    data = bytearray(file.read_bytes())
    data[index] ^= 1
    file.write_bytes(data)
