"""Values of a merged tensor, computed from base and adapter block by block.

``exact`` adds the change in 32 bit or more and rounds once. ``peft`` repeats the operations of
peft 0.21's ``merge_and_unload`` on a CPU, in its types and its order, so that the bits are equal:
adapters of 16 bit are widened on load (``autocast_adapter_dtype``), the sum of a linear layer is
rounded once, and an embedding's change is rounded before it is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.export.merge_layout import Output
from ftwizard.export.tensors import Buffers, StoredTensor, iterate_rows, read, to_torch_dtype
from ftwizard.runs.merge_proof import Rounding
from ftwizard.text import make_visible


class Block(NamedTuple):
    """Consecutive rows of a merged tensor, valid until the next block."""

    merged: Any
    """In the type of the merged model."""
    base: Any
    """The same rows of the base."""
    exact: Any
    """The sum before it was rounded."""


Rows = tuple[int, int]
"""First row and end row of a block."""


def compute_blocks(output: Output, rounding: Rounding, scale: float) -> Iterator[Block]:
    """Yield a tensor of the merged model in blocks; ``scale`` multiplies the adapter's change.

    Raises FtwizardError if the adapter has NaN or infinite values, or if values do not fit float16.
    """
    if rounding == "exact":
        compute: Callable[[Rows | None], Block] = _ExactSum(output, scale).compute
        is_rowwise = output.lora is None or output.lora.magnitude is None or _is_by_row(output)
    elif output.lora and output.lora.magnitude and not output.is_bias:
        yield _compute_dora_as_peft(output, scale)
        return
    else:
        compute, is_rowwise = _PeftSum(output, scale).compute, True
    is_whole = output.is_quantized or not is_rowwise or not output.shape
    for rows in [None] if is_whole else [*iterate_rows(output.shape)]:
        block = compute(rows)
        if output.dtype == "F16":
            _check_range(output, block)
        yield block


def _check_range(output: Output, block: Block) -> None:
    import torch

    if not torch.isfinite(block.merged).all() and torch.isfinite(block.exact).all():
        raise FtwizardError(
            f"Values of {make_visible(output.name, 120)} are too large for float16.",
            "Merge with --dtype bfloat16 or float32.",
        )


def _is_by_row(output: Output) -> bool:
    """Return whether DoRA scales rows of a stored tensor, not its columns."""
    return not output.is_transposed and not _require(output.lora).is_embedding


class _ExactSum:
    """A tensor's sum, computed in 64 bit: it is then the same in any order of its terms."""

    def __init__(self, output: Output, scale: float) -> None:
        self._output, self._scale, self._buffers = output, scale, Buffers()
        self._left = self._right = self._magnitude = None
        lora = output.lora
        if lora is None:
            return
        if output.is_bias:
            self._left = _read_finite(_require(lora.bias)).double() * lora.scaling
            return
        left, right = (_read_finite(_require(part)).double() for part in (lora.b, lora.a))
        if lora.is_embedding or output.is_transposed:
            left, right = right.T.contiguous(), left.T.contiguous()
        self._left, self._right = left, right * lora.scaling
        self._magnitude = _read_finite(lora.magnitude).double() if lora.magnitude else None

    def compute(self, rows: Rows | None) -> Block:
        import torch

        output, buffers = self._output, self._buffers
        dtype = to_torch_dtype(output.dtype)
        base = _read_base(output, rows, buffers)
        start = _read_saved(output.saved, rows, buffers) if output.saved else base
        if not output.is_merged or not start.is_floating_point():
            return Block(buffers.copy("merged", start, dtype), base, start)
        total = buffers.copy("sum", start, torch.float64)
        if self._left is not None:
            left = self._left[slice(*rows) if rows else slice(None)]
            total = total.add_(left) if self._right is None else total.addmm_(left, self._right)
            if self._magnitude is not None:
                total *= self._compute_dora_factor(total, rows)
        if self._scale != 1.0 and base.shape == total.shape:
            total.sub_(base).mul_(self._scale).add_(base)
        # In 32 bit first: conversions from 64 to 16 bit differ between processors.
        exact = buffers.copy("exact", total, torch.float32)
        if dtype == torch.float32:
            return Block(exact, base, total)
        return Block(buffers.copy("merged", exact, dtype), base, exact)

    def _compute_dora_factor(self, value: Any, rows: Rows | None) -> Any:
        """Return DoRA's magnitude over the norm of ``value``, for its rows or its columns."""
        import torch

        magnitude: Any = self._magnitude
        if not _is_by_row(self._output):
            return (magnitude / torch.linalg.norm(value, dim=0)).view(1, -1)
        magnitude = magnitude[slice(*rows) if rows else slice(None)]
        return (magnitude / torch.linalg.norm(value, dim=1)).view(-1, 1)


class _PeftSum:
    """A tensor's sum in peft's types and order; the product, in 32 bit, is computed whole as there."""

    def __init__(self, output: Output, scale: float) -> None:
        self._output, self._scale, self._buffers = output, scale, Buffers()
        self._change: Any = None
        if (lora := output.lora) is None:
            return
        if output.is_bias:
            self._change = _read_finite(_require(lora.bias)) * (lora.scaling * scale)
            return
        self._change = _compute_product(output).mul_(lora.scaling * scale)

    def compute(self, rows: Rows | None) -> Block:
        import torch

        output, buffers = self._output, self._buffers
        dtype = to_torch_dtype(output.dtype)
        base = _read_base(output, rows, buffers).to(dtype)
        start = _read_saved(output.saved, rows, buffers).to(dtype) if output.saved else base
        exact = buffers.copy("exact", start, torch.float32)
        if self._change is None:
            if output.saved and self._scale != 1.0 and base.shape == start.shape:
                exact.sub_(base).mul_(self._scale).add_(base)
            is_copy = not start.is_floating_point()
            return Block(start if is_copy else buffers.copy("merged", exact, dtype), base, exact)
        change = self._change[slice(*rows) if rows else slice(None)]
        rounded = exact
        if _require(output.lora).is_embedding:
            rounded = buffers.copy("rounded", exact, torch.float32).add_(change.to(dtype))
        exact.add_(change)
        return Block(buffers.copy("merged", rounded, dtype), base, exact)


def _compute_product(output: Output) -> Any:
    lora = _require(output.lora)
    product = _read_finite(_require(lora.b)) @ _read_finite(_require(lora.a))
    return product.T if lora.is_embedding or output.is_transposed else product


def _compute_dora_as_peft(output: Output, scale: float) -> Block:
    dtype = to_torch_dtype(output.dtype)
    base = _read_base(output, None).to(dtype)
    start = _read_saved(output.saved, None).to(dtype) if output.saved else base
    exact = _apply_dora(output, start, _compute_product(output) * _require(output.lora).scaling)
    if scale != 1.0:
        exact = start.float() + scale * (exact - start.float())
    return Block(exact.to(dtype), base, exact)


def _apply_dora(output: Output, start: Any, change: Any) -> Any:
    import torch

    magnitude = _read_finite(_require(_require(output.lora).magnitude))
    is_by_column = not _is_by_row(output)
    turned, added = (start.T, change.T) if is_by_column else (start, change)
    norm = torch.linalg.norm(turned + added, dim=1)
    factor = (magnitude / norm).view(-1, 1)
    return (factor.T if is_by_column else factor) * (start + change)


def _read_base(output: Output, rows: Rows | None, buffers: Buffers | None = None) -> Any:
    if rows and rows[0] >= output.source.shape[0]:  # tokens that only the adapter has
        import torch

        return torch.zeros((0, *output.shape[1:]), dtype=to_torch_dtype(output.source.dtype))
    end = min(rows[1], output.source.shape[0]) if rows else None
    weights = read(output.source, rows[0] if rows else 0, end, buffers)
    return _round_to_4_bit(weights, output) if output.is_quantized else weights


def _round_to_4_bit(weights: Any, output: Output) -> Any:
    """Return weights as QLoRA saw them in training: NF4 with double quantization.

    As ``train/model_loading.py`` loads them.
    """
    from bitsandbytes import functional

    values, state = functional.quantize_4bit(
        weights.to(to_torch_dtype(output.dtype)), compress_statistics=True, quant_type="nf4"
    )
    return functional.dequantize_4bit(values, state)


def _read_saved(tensor: StoredTensor, rows: Rows | None, buffers: Buffers | None = None) -> Any:
    first, end = rows or (0, None)
    value = read(tensor, first, end, buffers)
    return check_finite(value, tensor)


def _read_finite(tensor: StoredTensor) -> Any:
    return check_finite(read(tensor), tensor).float()


def check_finite(value: Any, tensor: StoredTensor) -> Any:
    """Return ``value``; raise FtwizardError if it has NaN or infinite values."""
    import torch

    if value.is_floating_point() and not torch.isfinite(value).all():
        raise FtwizardError(
            f"The adapter's tensor {make_visible(tensor.name, 120)} has NaN or infinite values: "
            "training diverged, or the file is damaged.",
            "Merge an earlier checkpoint.",
        )
    return value


def _require(part: Any) -> Any:
    assert part is not None  # merge_layout planned it only with this part
    return part
