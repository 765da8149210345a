"""The trial, in a separate process: one minimal training step on each device.

It announces each action and its outcome on stdout as JSON lines, so that its parent knows what
crashed or hung. Run as ``python -m ftwizard.doctor.trial_child``.
"""

from __future__ import annotations

import importlib
import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

from ftwizard.doctor.trial import ChildEvent, Failed, Started, Succeeded, TorchCard, TorchDevices
from ftwizard.hardware import machine
from ftwizard.jobs import identity

WIDTH = 64
"""Width of the tiny model, and the block size of NF4."""


class Reporter:
    """Runs trials and reports them to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._trial = self._action = ""

    def doing(self, action: str) -> None:
        """Announce the next action."""
        self._action = action
        self._write(Started(self._trial, action))

    def attempt(
        self, trial: str, call: Callable[..., dict[str, Any]], *arguments: str
    ) -> Succeeded | None:
        """Run a trial and report its outcome; return it if it succeeded.

        ``call`` takes this reporter and ``arguments``, and returns fields of ``Succeeded``.
        """
        self._trial = trial
        began = time.monotonic()
        try:
            fields = call(self, *arguments)
        except Exception as error:  # noqa: BLE001 (every error is a result)
            self._write(Failed(trial, f"{type(error).__name__}: {error}"[:4000], self._action))
            return None
        success = Succeeded(trial, round(time.monotonic() - began, 3), **fields)
        self._write(success)
        return success

    def _write(self, event: ChildEvent) -> None:
        self._out.write(msgspec.json.encode(event) + b"\n")
        self._out.flush()


def main() -> None:
    """Run all trials."""
    identity.end_with_parent()
    reporter = Reporter(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # keep the output of libraries apart from the events
    if not reporter.attempt("torch", _import, "torch"):
        return
    success = reporter.attempt("devices", _list_devices)
    cards = success.devices.cards if success and success.devices else []
    gpus = [f"cuda:{index}" for index in range(len(cards))]
    for device in ("cpu", *gpus):
        reporter.attempt(f"step {device}", _step, device)
    if machine.is_installed("bitsandbytes") and reporter.attempt(
        "bitsandbytes", _import, "bitsandbytes"
    ):
        for device in ("cpu", *gpus):
            reporter.attempt(f"4bit {device}", _four_bit, device)
    if machine.is_installed("flash_attn"):
        for device in gpus:
            reporter.attempt(f"flash {device}", _flash, device)
    names = ("transformers", "peft", "trl.trainer.sft_trainer")
    if all(machine.is_installed(name.partition(".")[0]) for name in names):
        reporter.attempt("libraries", _import, *names)


def _get_torch() -> Any:
    return importlib.import_module("torch")


def _import(reporter: Reporter, *names: str) -> dict[str, Any]:
    for name in names:
        reporter.doing(f"importing {name.partition('.')[0]}")
        importlib.import_module(name)
    return {}


def _list_devices(reporter: Reporter) -> dict[str, Any]:
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
    devices = TorchDevices(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        available=available,
        why=" ".join(message[:1000] for message in errors),
        archs=torch.cuda.get_arch_list(),
        cards=[
            TorchCard(
                name=torch.cuda.get_device_name(index),
                capability=torch.cuda.get_device_capability(index),
            )
            for index in range(torch.cuda.device_count() if available else 0)
        ],
    )
    return {"devices": devices}


def _choose_dtype(device: str) -> tuple[Any, str]:
    """Return the dtype that runs use on a device, and its short name."""
    torch = _get_torch()
    if device == "cpu":
        has_bf16 = machine.has_bfloat16_cpu()
    else:
        with torch.cuda.device(device):
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return (torch.bfloat16, "bf16") if has_bf16 else (torch.float32, "fp32")


def _step(reporter: Reporter, device: str) -> dict[str, Any]:
    """Train a tiny random transformer for one step; raise if its weights are unchanged or not finite."""
    torch = _get_torch()
    nn = torch.nn
    torch.manual_seed(1)
    dtype, dtype_name = _choose_dtype(device)
    reporter.doing(f"moving a tiny model to {device}")
    model = nn.Sequential(
        nn.Embedding(WIDTH, WIDTH),
        nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True),
        nn.Linear(WIDTH, WIDTH),
    ).to(device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    before = model[2].weight.detach().clone()
    tokens = torch.randint(0, WIDTH, (2, 16), device=device)
    reporter.doing(f"the forward pass on {device} in {dtype_name}")
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1).float(), tokens.flatten())
    first = float(loss.detach())
    reporter.doing(f"the backward pass on {device} in {dtype_name}")
    loss.backward()
    _finish(device)
    reporter.doing(f"the optimizer step on {device}")
    optimizer.step()
    _finish(device)
    if not (math.isfinite(first) and torch.isfinite(model[2].weight).all()):
        raise ArithmeticError(f"NaN or infinite weights after one step (loss {first})")
    if torch.equal(before, model[2].weight):
        raise ArithmeticError("the step changed no weights")
    return {"dtype": dtype_name}


def _four_bit(reporter: Reporter, device: str) -> dict[str, Any]:
    """Run a gradient through a 4-bit layer; raise if it or the output is wrong."""
    torch, bitsandbytes = _get_torch(), importlib.import_module("bitsandbytes")
    torch.manual_seed(1)
    dtype, dtype_name = _choose_dtype(device)
    plain = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    layer = bitsandbytes.nn.Linear4bit(
        WIDTH, WIDTH, bias=False, compute_dtype=dtype, quant_type="nf4"
    )
    layer.load_state_dict(plain.state_dict())
    reporter.doing(f"quantizing a layer to NF4 on {device}")
    layer = layer.to(device)
    plain = plain.to(device, dtype)
    first = torch.nn.Linear(WIDTH, WIDTH).to(device, dtype)
    inputs = torch.randn(8, WIDTH, device=device, dtype=dtype)
    reporter.doing(f"the forward pass through a 4-bit layer on {device}")
    expected, output = plain(first(inputs)), layer(first(inputs))
    _finish(device)
    reporter.doing(f"the backward pass through a 4-bit layer on {device}")
    output.float().square().mean().backward()
    _finish(device)
    gradient = first.weight.grad
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
        raise ArithmeticError("no gradient flows through the 4-bit layer")
    error = float((output - expected).detach().float().norm() / expected.float().norm())
    if not error < 0.3:  # about 0.1 for NF4 of normal weights
        raise ArithmeticError(f"the output of the 4-bit layer is off by {error:.0%}")
    return {"dtype": dtype_name}


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
    main()
    os._exit(0)  # skip teardown: a library that crashes there has done its work
