"""The trial, in a separate process: one minimal training step on each device.

It announces each action and its outcome on stdout as JSON lines, so that its parent knows what
crashed or hung. Run as ``python -m ftwizard.doctor.trial_child [TRIAL…]``; the named trials are
skipped.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from ftwizard.hardware import machine

WIDTH = 64
"""Width of the tiny model, and the block size of NF4."""
PR_SET_PDEATHSIG = 1


class Reporter:
    """Runs trials and reports them to the parent."""

    def __init__(self, out: TextIO, skip: set[str]) -> None:
        self._out = out
        self._skip = skip
        self._trial = ""

    def doing(self, action: str) -> None:
        """Announce the next action."""
        self._write(trial=self._trial, doing=action)

    def attempt(self, trial: str, call: Callable[[], Any]) -> bool:
        """Run a trial and report its outcome; return whether it succeeded."""
        if trial in self._skip:
            return False
        self._trial = trial
        began = time.monotonic()
        try:
            facts = call() or {}
        except Exception as error:  # noqa: BLE001 (every error is a result)
            self._write(trial=trial, error=f"{type(error).__name__}: {error}"[:4000])
            return False
        self._write(trial=trial, facts=facts, seconds=round(time.monotonic() - began, 3))
        return True

    def _write(self, **fields: Any) -> None:
        self._out.write(json.dumps(fields) + "\n")
        self._out.flush()


def main(argv: list[str]) -> None:
    """Run all trials except those in ``argv``."""
    _die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keep the output of libraries apart from the events
    reporter = Reporter(out, set(argv))
    facts: dict[str, Any] = {}
    if not reporter.attempt("torch", lambda: _load(reporter)):
        return
    if reporter.attempt("devices", lambda: facts.update(_devices(reporter)) or facts):
        devices = ["cpu", *(f"cuda:{card['index']}" for card in facts["cards"])]
    else:
        devices = ["cpu"]
    _try_devices(reporter, devices)
    _try_libraries(reporter)


def _try_devices(reporter: Reporter, devices: list[str]) -> None:
    for device in devices:
        reporter.attempt(f"step {device}", lambda device=device: _step(reporter, device))  # type: ignore[misc]
    if machine.is_installed("bitsandbytes") and reporter.attempt(
        "bitsandbytes", lambda: _import(reporter, "bitsandbytes")
    ):
        for device in devices:
            reporter.attempt(f"4bit {device}", lambda device=device: _four_bit(reporter, device))  # type: ignore[misc]
    if machine.is_installed("flash_attn"):
        for device in devices[1:]:
            reporter.attempt(f"flash {device}", lambda device=device: _flash(reporter, device))  # type: ignore[misc]


def _try_libraries(reporter: Reporter) -> None:
    names = ("transformers", "peft", "trl.trainer.sft_trainer")
    if all(machine.is_installed(name.partition(".")[0]) for name in names):
        reporter.attempt("libraries", lambda: _import(reporter, *names))


def _die_with_parent() -> None:
    """End this process when its parent ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _get_torch() -> Any:
    return importlib.import_module("torch")


def _load(reporter: Reporter) -> dict[str, Any]:
    reporter.doing("importing torch")
    torch = _get_torch()
    return {"version": torch.__version__, "threads": torch.get_num_threads()}


def _import(reporter: Reporter, *names: str) -> dict[str, Any]:
    for name in names:
        reporter.doing(f"importing {name.partition('.')[0]}")
        module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", ""))}


def _devices(reporter: Reporter) -> dict[str, Any]:
    """Return the CUDA devices that torch sees, and its warnings if there are none."""
    reporter.doing("querying CUDA devices")
    torch = _get_torch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        errors = [str(warning.message) for warning in caught]
        if not available and torch.version.cuda:
            try:
                torch.cuda.init()
            except Exception as error:  # noqa: BLE001 (its message is the result)
                errors.append(str(error))
    cards = []
    for index in range(torch.cuda.device_count() if available else 0):
        reporter.doing(f"querying CUDA device {index}")
        cards.append(
            {
                "index": index,
                "name": torch.cuda.get_device_name(index),
                "capability": list(torch.cuda.get_device_capability(index)),
            }
        )
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "available": available,
        "why": [message[:1000] for message in errors],
        "archs": torch.cuda.get_arch_list(),
        "cards": cards,
    }


def _dtype(device: str) -> Any:
    """Return the dtype that runs use on a device."""
    torch = _get_torch()
    if device == "cpu":
        return torch.bfloat16 if machine.has_bfloat16_cpu() else torch.float32
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def _format_dtype(dtype: Any) -> str:
    return "bf16" if str(dtype) == "torch.bfloat16" else "fp32"


def _step(reporter: Reporter, device: str) -> dict[str, Any]:
    """Train a tiny random transformer for one step; raise if no weight changed."""
    torch = _get_torch()
    nn = torch.nn

    torch.manual_seed(1)
    dtype = _dtype(device)
    reporter.doing(f"moving a tiny model to {device}")
    model = nn.Sequential(
        nn.Embedding(WIDTH, WIDTH),
        nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True),
        nn.Linear(WIDTH, WIDTH),
    ).to(device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    before = model[2].weight.detach().clone()
    tokens = torch.randint(0, WIDTH, (2, 16), device=device)
    reporter.doing(f"the forward pass on {device} in {_format_dtype(dtype)}")
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1).float(), tokens.flatten())
    first = float(loss.detach())
    reporter.doing(f"the backward pass on {device} in {_format_dtype(dtype)}")
    loss.backward()
    _finish(device)
    reporter.doing(f"the optimizer step on {device}")
    optimizer.step()
    _finish(device)
    if not (math.isfinite(first) and torch.isfinite(model[2].weight).all()):
        raise ArithmeticError(f"NaN or infinite weights after one step (loss {first})")
    if torch.equal(before, model[2].weight):
        raise ArithmeticError("the step changed no weights")
    return {"dtype": _format_dtype(dtype), "loss": first}


def _four_bit(reporter: Reporter, device: str) -> dict[str, Any]:
    """Run a gradient through a 4-bit layer; raise if it or the output is wrong."""
    torch, bitsandbytes = _get_torch(), importlib.import_module("bitsandbytes")
    nn = torch.nn

    torch.manual_seed(1)
    dtype = _dtype(device)
    plain = nn.Linear(WIDTH, WIDTH, bias=False)
    layer = bitsandbytes.nn.Linear4bit(
        WIDTH, WIDTH, bias=False, compute_dtype=dtype, quant_type="nf4"
    )
    layer.load_state_dict(plain.state_dict())
    reporter.doing(f"quantizing a layer to NF4 on {device}")
    layer = layer.to(device)
    plain = plain.to(device, dtype)
    first = nn.Linear(WIDTH, WIDTH).to(device, dtype)
    inputs = torch.randn(8, WIDTH, device=device, dtype=dtype)
    reporter.doing(f"the forward pass through a 4-bit layer on {device}")
    expected, output = plain(first(inputs)), layer(first(inputs))
    _finish(device)
    error = float((output - expected).float().norm() / expected.float().norm())
    reporter.doing(f"the backward pass through a 4-bit layer on {device}")
    output.float().square().mean().backward()
    _finish(device)
    gradient = first.weight.grad
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
        raise ArithmeticError("no gradient flows through the 4-bit layer")
    if not error < 0.3:  # about 0.1 for NF4 of normal weights
        raise ArithmeticError(f"the output of the 4-bit layer is off by {error:.0%}")
    return {"dtype": _format_dtype(dtype), "off": error}


def _flash(reporter: Reporter, device: str) -> dict[str, Any]:
    """Run a gradient through flash-attn's attention; raise if it is wrong."""
    reporter.doing("importing flash_attn")
    torch, flash = _get_torch(), importlib.import_module("flash_attn")

    reporter.doing(f"flash attention on {device}")
    with torch.cuda.device(device):
        inputs = torch.randn(
            1, 16, 2, WIDTH, device=device, dtype=torch.bfloat16, requires_grad=True
        )
        flash.flash_attn_func(inputs, inputs, inputs, causal=True).float().sum().backward()
        _finish(device)
    if not torch.isfinite(inputs.grad).all():
        raise ArithmeticError("its gradient has NaN or infinite values")
    return {}


def _finish(device: str) -> None:
    """Synchronize with the GPU, so that its errors appear at the right step."""
    if device != "cpu":
        _get_torch().cuda.synchronize(device)


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # skip teardown: a library that crashes there has done its work
