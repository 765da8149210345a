"""Tracking of all live tensor storages, by part of the training."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

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
