"""The trial itself, in a process of its own: one training step, as small as it can be.

It says on its stdout, a JSON object a line, what it is about to do and how it went, so that who
started it knows what was under way when it crashed or hung. Run as
``python -m ftwizard.doctor.smoke_child [TRIAL…]``; the named trials are left out.
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

from ftwizard import machine

WIDTH = 64
"""Of the tiny model; also the block size of NF4."""
PR_SET_PDEATHSIG = 1


class Say:
    """Tells the parent, and carries out trials."""

    def __init__(self, out: TextIO, skip: set[str]) -> None:
        self._out = out
        self._skip = skip
        self._trial = ""

    def doing(self, what: str) -> None:
        """Say what comes next, before it is done."""
        self._line(trial=self._trial, doing=what)

    def attempt(self, trial: str, call: Callable[[], Any]) -> bool:
        """Carry out a trial and say how it went; return whether it went well."""
        if trial in self._skip:
            return False
        self._trial = trial
        began = time.monotonic()
        try:
            facts = call() or {}
        except Exception as error:  # noqa: BLE001 (each is a finding)
            self._line(trial=trial, error=f"{type(error).__name__}: {error}"[:4000])
            return False
        self._line(trial=trial, facts=facts, seconds=round(time.monotonic() - began, 3))
        return True

    def _line(self, **fields: Any) -> None:
        self._out.write(json.dumps(fields) + "\n")
        self._out.flush()


def main(argv: list[str]) -> None:
    """Try everything but the trials in ``argv``."""
    _die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is none of the answers
    say = Say(out, set(argv))
    facts: dict[str, Any] = {}
    if not say.attempt("torch", lambda: _load(say)):
        return
    if say.attempt("devices", lambda: facts.update(_devices(say)) or facts):
        places = ["cpu", *(f"cuda:{card['index']}" for card in facts["cards"])]
    else:
        places = ["cpu"]
    _try_places(say, places)
    _try_libraries(say)


def _try_places(say: Say, places: list[str]) -> None:
    for place in places:
        say.attempt(f"step {place}", lambda place=place: _step(say, place))  # type: ignore[misc]
    if machine.is_installed("bitsandbytes") and say.attempt(
        "bitsandbytes", lambda: _import(say, "bitsandbytes")
    ):
        for place in places:
            say.attempt(f"4bit {place}", lambda place=place: _four_bit(say, place))  # type: ignore[misc]
    if machine.is_installed("flash_attn"):
        for place in places[1:]:
            say.attempt(f"flash {place}", lambda place=place: _flash(say, place))  # type: ignore[misc]


def _try_libraries(say: Say) -> None:
    names = ("transformers", "peft", "trl.trainer.sft_trainer")
    if all(machine.is_installed(name.partition(".")[0]) for name in names):
        say.attempt("libraries", lambda: _import(say, *names))


def _die_with_parent() -> None:
    """End when the process that started this one does, however it ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _torch() -> Any:
    return importlib.import_module("torch")


def _load(say: Say) -> dict[str, Any]:
    say.doing("importing torch")
    torch = _torch()
    return {"version": torch.__version__, "threads": torch.get_num_threads()}


def _import(say: Say, *names: str) -> dict[str, Any]:
    for name in names:
        say.doing(f"importing {name.partition('.')[0]}")
        module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", ""))}


def _devices(say: Say) -> dict[str, Any]:
    """Return what torch sees of CUDA, and its own words where it sees none."""
    say.doing("asking CUDA for its devices")
    torch = _torch()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        why = [str(one.message) for one in said]
        if not available and torch.version.cuda:
            try:
                torch.cuda.init()
            except Exception as error:  # noqa: BLE001 (its words are the answer)
                why.append(str(error))
    cards = []
    for index in range(torch.cuda.device_count() if available else 0):
        say.doing(f"asking CUDA about device {index}")
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
        "hip": torch.version.hip,
        "available": available,
        "why": [one[:1000] for one in why],
        "archs": torch.cuda.get_arch_list(),
        "cards": cards,
    }


def _dtype(place: str) -> Any:
    """Return what training computes in there, as runs choose it."""
    torch = _torch()
    if place == "cpu":
        return torch.bfloat16 if machine.has_bfloat16_cpu() else torch.float32
    with torch.cuda.device(place):
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has else torch.float32


def _name(dtype: Any) -> str:
    return "bf16" if str(dtype) == "torch.bfloat16" else "fp32"


def _step(say: Say, place: str) -> dict[str, Any]:
    """Train a tiny random transformer for one step; raise where nothing was learnt."""
    torch = _torch()
    nn = torch.nn

    torch.manual_seed(1)
    dtype = _dtype(place)
    say.doing(f"moving a tiny model to {place}")
    model = nn.Sequential(
        nn.Embedding(WIDTH, WIDTH),
        nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True),
        nn.Linear(WIDTH, WIDTH),
    ).to(place, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    before = model[2].weight.detach().clone()
    tokens = torch.randint(0, WIDTH, (2, 16), device=place)
    say.doing(f"the forward pass on {place} in {_name(dtype)}")
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1).float(), tokens.flatten())
    first = float(loss.detach())
    say.doing(f"the backward pass on {place} in {_name(dtype)}")
    loss.backward()
    _finish(place)
    say.doing(f"the optimizer's step on {place}")
    optimizer.step()
    _finish(place)
    if not (math.isfinite(first) and torch.isfinite(model[2].weight).all()):
        raise ArithmeticError(f"the loss is {first} and the weights are no numbers")
    if torch.equal(before, model[2].weight):
        raise ArithmeticError("the step changed no weight")
    return {"dtype": _name(dtype), "loss": first}


def _four_bit(say: Say, place: str) -> dict[str, Any]:
    """Send a gradient through a 4-bit layer; raise where it or the output is wrong."""
    torch, bitsandbytes = _torch(), importlib.import_module("bitsandbytes")
    nn = torch.nn

    torch.manual_seed(1)
    dtype = _dtype(place)
    plain = nn.Linear(WIDTH, WIDTH, bias=False)
    layer = bitsandbytes.nn.Linear4bit(
        WIDTH, WIDTH, bias=False, compute_dtype=dtype, quant_type="nf4"
    )
    layer.load_state_dict(plain.state_dict())
    say.doing(f"quantising a layer to NF4 on {place}")
    layer = layer.to(place)
    plain = plain.to(place, dtype)
    first = nn.Linear(WIDTH, WIDTH).to(place, dtype)
    given = torch.randn(8, WIDTH, device=place, dtype=dtype)
    say.doing(f"the forward pass through a 4-bit layer on {place}")
    exact, got = plain(first(given)), layer(first(given))
    _finish(place)
    off = float((got - exact).float().norm() / exact.float().norm())
    say.doing(f"the backward pass through a 4-bit layer on {place}")
    got.float().square().mean().backward()
    _finish(place)
    gradient = first.weight.grad
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
        raise ArithmeticError("no gradient comes through the 4-bit layer")
    if not off < 0.3:  # NF4 of normal weights is about 0.1 off
        raise ArithmeticError(f"the 4-bit layer's output is {off:.0%} off")
    return {"dtype": _name(dtype), "off": off}


def _flash(say: Say, place: str) -> dict[str, Any]:
    """Compute attention by flash-attn, and compare with torch's own."""
    say.doing("importing flash_attn")
    torch, flash = _torch(), importlib.import_module("flash_attn")

    say.doing(f"flash attention on {place}")
    with torch.cuda.device(place):
        q, k, v = (
            torch.randn(1, 16, 2, WIDTH, device=place, dtype=torch.bfloat16, requires_grad=True)
            for _ in range(3)
        )
        got = flash.flash_attn_func(q, k, v, causal=True)
        got.float().sum().backward()
        own = torch.nn.functional.scaled_dot_product_attention(
            *(one.transpose(1, 2) for one in (q, k, v)), is_causal=True
        ).transpose(1, 2)
        _finish(place)
    if not torch.allclose(got.float(), own.float(), atol=0.1):
        raise ArithmeticError("its result is not that of torch's own attention")
    return {}


def _finish(place: str) -> None:
    """Wait for the GPU: its errors come late otherwise, and of another step."""
    if place != "cpu":
        _torch().cuda.synchronize(place)


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # a library that crashes while Python takes it down has done its work
