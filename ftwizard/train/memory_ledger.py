"""Peak memory of a real model class, counted tensor by tensor from its configuration.

With fake tensors, which have sizes but no data, this needs neither weights nor a GPU: 5 to 50
seconds on a CPU. It runs the steps of ``ftwizard.train`` (autocast, peft adapters, checkpointing,
TRL's tiles) once and tracks the lifetime of each storage. It is for models on which the closed form
in ``ftwizard.estimate.memory`` was not verified.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import is_padded
from ftwizard.estimate.memory import MemoryEstimate, from_parts
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, FrameworkOverhead, TrainingSetup
from ftwizard.text import make_visible
from ftwizard.train import runtime
from ftwizard.train.fake_model import (
    allow_32_bit_experts,
    attention_masks,
    build_model,
    compute_loss,
    materialize,
)

_BLOCK_BYTES = 512
"""torch's CUDA allocator rounds each block up to a multiple of this."""


class StorageLedger:
    """Bytes in use now and at the peak, by part."""

    def __init__(self, vocabulary: int = 0) -> None:
        self.alive: dict[int, tuple[int, str]] = {}
        self.now: dict[str, int] = {}
        self.at_peak: dict[str, float] = {}
        self.peak = 0
        self.peak_phase = "loss"
        self.phase = "loss"
        self.peaks: dict[str, int] = {}
        """The largest total of each phase."""
        self.trained = 0
        self._total = 0
        self._vocabulary = vocabulary

    def record(self, part: str, *tensors: Any) -> None:
        """Record tensors under ``part``, moving those that are recorded already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self.alive:
                size, old = self.alive[key]
                self.alive[key] = (size, part)
                self.now[old] -= size
                self.now[part] = self.now.get(part, 0) + size
                continue
            size = -(-storage.nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES
            self.alive[key] = (size, part)
            self.now[part] = self.now.get(part, 0) + size
            self._total += size
            weakref.finalize(storage, self._release, key)

    def record_output(self, tensor: Any) -> None:
        """Record an operation's output, unless its storage is recorded already."""
        if tensor.untyped_storage()._cdata not in self.alive:
            is_logits = self._vocabulary and tensor.ndim and tensor.shape[-1] == self._vocabulary
            self.record("logits" if is_logits else "activations", tensor)

    def record_gradient(self, parameter: Any) -> None:
        """Record a parameter's gradient."""
        if parameter.grad is not None:
            self.record("gradients", parameter.grad)

    def update_peak(self) -> None:
        """Compare the current total with the peaks so far."""
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self._total)
        if self._total > self.peak:
            self.peak, self.peak_phase = self._total, self.phase
            self.at_peak = {name: float(size) for name, size in self.now.items()}

    def _release(self, key: int) -> None:
        size, part = self.alive.pop(key)
        self.now[part] -= size
        self._total -= size


@contextlib.contextmanager
def track_storage(ledger: StorageLedger) -> Iterator[None]:
    """Record the outputs of every operation in the context."""
    from torch import Tensor
    from torch.utils import _python_dispatch
    from torch.utils._pytree import tree_iter

    mode: Any = _python_dispatch.TorchDispatchMode

    class Tracking(mode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            output = func(*args, **(kwargs or {}))
            for leaf in tree_iter(output):
                if isinstance(leaf, Tensor):
                    ledger.record_output(leaf)
            ledger.update_peak()
            return output

    with Tracking():
        yield


_PREFIX = re.compile(r"^\[[\w:.]+\] ")
"""The prefix of peft's messages: ``[PEFT:PeftType.LORA]``."""


def run_memory_ledger(
    config: Mapping[str, object],
    setup: TrainingSetup,
    *,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Return the memory for training a model of ``config`` (a config.json) with ``setup``.

    Raises FtwizardError for a configuration that is not a causal language model's, for missing
    target modules, and for a class that cannot run on fake tensors.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    runtime.silence_libraries()
    runtime.silence_fake_tensors()
    action = "prepared for training"
    try:
        model = build_model(config, setup, stack)
        action = "run without weights"
        with FakeTensorMode(allow_non_fake_inputs=True):
            storage = run_step(model, setup, stack)
    except FtwizardError:
        raise
    except Exception as error:  # any model's class, or a library, may raise anything
        hint = "Measure it with a few real steps: ftwizard probe PLAN"
        raise FtwizardError(_describe_error(error, action), hint) from error
    return from_parts(
        storage.at_peak,
        moment=storage.peak_phase,
        trained=storage.trained,
        stack=stack,
        source="counted tensor by tensor on the model's own class, without weights",
    )


def _describe_error(error: Exception, action: str) -> str:
    """Return why a class could not run on fake tensors."""
    from torch._subclasses import fake_tensor

    value_errors: Any = (
        fake_tensor.DataDependentOutputException,
        fake_tensor.DynamicOutputShapeException,
    )
    if isinstance(error, value_errors):
        return "The model's control flow depends on tensor values, which need the weights."
    first = _PREFIX.sub("", (str(error).splitlines() or [""])[0])
    message = make_visible(first, 200) or type(error).__name__
    return f"The model's class could not be {action}: {message.rstrip('.')}."


def run_step(
    model: Any, setup: TrainingSetup, stack: FrameworkOverhead = FTWIZARD_OVERHEAD
) -> StorageLedger:
    """Run one optimizer step on fake or real tensors; return its storage ledger."""
    import torch

    materialize(model)
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    storage = StorageLedger(vocabulary=int(model.config.get_text_config().vocab_size))
    storage.trained = sum(parameter.numel() for parameter in trained)
    storage.record("weights", *(p for p in parameters if not p.requires_grad), *model.buffers())
    storage.record("weights" if setup.method == "full" else "adapter", *trained)
    moments = [torch.empty_like(parameter) for parameter in trained for _ in range(2)]
    storage.record("optimizer", *moments)
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(storage.record_gradient)
    rows = torch.zeros((setup.batch_size, setup.length), dtype=torch.long)
    padded = is_padded(setup, stack)
    with track_storage(storage), attention_masks(padded), allow_32_bit_experts(setup):
        for _ in range(min(setup.accumulation, 2)):
            _run_pass(model, rows, setup, stack, storage)
        storage.phase = "step"
        storage.update_peak()
    return storage


def _run_pass(
    model: Any, rows: Any, setup: TrainingSetup, stack: FrameworkOverhead, storage: StorageLedger
) -> None:
    """Run one forward and backward pass."""
    storage.phase = "loss"
    with _autocast(setup, stack):
        loss = compute_loss(model, rows, setup)
    storage.phase = "backward"
    loss.backward()


def _autocast(setup: TrainingSetup, stack: FrameworkOverhead) -> Any:
    import torch

    if setup.precision == "fp32" or not stack.autocast:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)
