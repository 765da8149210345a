"""A book of all storages that are alive: booked when they are born, struck off when they die."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

_ROUNDED = 512
"""Bytes that torch's CUDA allocator rounds each block up to."""


class Book:
    """Bytes alive now and at the peak, by part."""

    def __init__(self, words: int = 0) -> None:
        self.alive: dict[int, tuple[int, str]] = {}
        self.now: dict[str, int] = {}
        self.at_peak: dict[str, float] = {}
        self.peak = 0
        self.moment = "loss"
        self.moment_now = "loss"
        self.peaks: dict[str, int] = {}
        """The largest total of each moment."""
        self.trained = 0
        self._total = 0
        self._words = words

    def hold(self, part: str, *tensors: Any) -> None:
        """Book tensors under ``part``; those that are booked already move there."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self.alive:
                size, old = self.alive[key]
                self.alive[key] = (size, part)
                self.now[old] -= size
                self.now[part] = self.now.get(part, 0) + size
                continue
            size = -(-storage.nbytes() // _ROUNDED) * _ROUNDED
            self.alive[key] = (size, part)
            self.now[part] = self.now.get(part, 0) + size
            self._total += size
            weakref.finalize(storage, self._strike, key)

    def born(self, tensor: Any) -> None:
        """Book what an operation gave, unless its storage was there before."""
        if tensor.untyped_storage()._cdata not in self.alive:
            wide = self._words and tensor.ndim and tensor.shape[-1] == self._words
            self.hold("logits" if wide else "activations", tensor)

    def gradient(self, parameter: Any) -> None:
        """Book a parameter's gradient as one."""
        if parameter.grad is not None:
            self.hold("gradients", parameter.grad)

    def look(self) -> None:
        """Compare with the peak so far."""
        self.peaks[self.moment_now] = max(self.peaks.get(self.moment_now, 0), self._total)
        if self._total > self.peak:
            self.peak, self.moment = self._total, self.moment_now
            self.at_peak = {name: float(size) for name, size in self.now.items()}

    def _strike(self, key: int) -> None:
        size, part = self.alive.pop(key)
        self.now[part] -= size
        self._total -= size


@contextlib.contextmanager
def booking(book: Book) -> Iterator[None]:
    """Book what every operation within gives."""
    from torch import Tensor
    from torch.utils import _python_dispatch
    from torch.utils._pytree import tree_iter

    mode: Any = _python_dispatch.TorchDispatchMode

    class Booking(mode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            given = func(*args, **(kwargs or {}))
            for one in tree_iter(given):
                if isinstance(one, Tensor):
                    book.born(one)
            book.look()
            return given

    with Booking():
        yield
