"""Device that a model fits on, for answering: the GPU if it has enough free memory, else the CPU."""

from __future__ import annotations

from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs.status import observe
from ftwizard.runs import store
from ftwizard.text import format_bytes
from ftwizard.train import model_loading

LIBRARY_BYTES = 700_000_000
"""Of torch, transformers and PEFT (measured: 0.6 GB), and of a short conversation."""
OVERHEAD = 1.2
"""Memory of loaded weights and their adapter, times the size of their files."""


def choose_device(weights: Path, extra: Path | None, precision: str) -> str | None:
    """Return ``cuda`` or ``cpu``, whichever has enough free memory; None if neither has.

    ``extra``: a second model to load next to ``weights``, if any.
    """
    import torch

    needed = needed_bytes(weights, precision)
    if extra:
        needed += needed_bytes(extra, precision) - LIBRARY_BYTES
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] >= needed:
        return "cuda"
    return "cpu" if machine.get_free_memory() >= needed else None


def needed_bytes(weights: Path, precision: str) -> float:
    """Return the memory that a model needs when loaded, the libraries included."""
    config = model_loading.read_config(weights)
    size = sum(path.stat().st_size for path in weights.glob("*.safetensors"))
    saved = 4 if str(config.get("dtype") or config.get("torch_dtype")) == "float32" else 2
    return size / saved * (4 if precision == "fp32" else 2) * OVERHEAD + LIBRARY_BYTES


def make_memory_error(weights: Path, precision: str) -> FtwizardError:
    """Return the error for a model that fits neither on the GPU nor into memory."""
    needed = needed_bytes(weights, precision)
    training = list_training()
    hint = "Close other programs, then try again."
    if training:
        hint = f"Run {training[0]} is training on this machine: wait for its end, or stop it."
    return FtwizardError(
        f"The model needs about {format_bytes(needed)} of memory, and "
        f"{format_bytes(machine.get_free_memory())} are free.",
        hint,
        code="out_of_memory",
    )


def list_training() -> list[str]:
    """Return the ids of the runs that are training on this machine."""
    runs = ((folder.id, observe(folder)) for folder in store.list_runs())
    return [run for run, status in runs if status.state == "running" and not status.host]
