"""Values of a merged tensor, computed from base and adapter block by block.

``exact`` adds the change in 32 bit or more and rounds once. ``peft`` repeats the operations of
peft 0.21's ``merge_and_unload`` on a CPU, in its types and its order, so that the bits are equal:
adapters of 16 bit are widened on load (``autocast_adapter_dtype``), the sum of a linear layer is
rounded once, and an embedding's change is rounded before it is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.export.merge_layout import Output
from ftwizard.export.tensors import StoredTensor, iterate_rows, read, to_torch_dtype
from ftwizard.runs.merge_proof import Rounding
from ftwizard.text import make_visible


class Block(NamedTuple):
    """Consecutive rows of a merged tensor."""

    merged: Any
    """In the type of the merged model."""
    base: Any
    """The same rows of the base."""
    exact: Any
    """The sum before it was rounded."""


def compute_blocks(output: Output, rounding: Rounding, scale: float) -> Iterator[Block]:
    """Yield a tensor of the merged model in blocks; ``scale`` multiplies the adapter's change.

    Raises FtwizardError if the adapter has NaN or infinite values.
    """
    if rounding == "peft":
        yield _compute_as_peft(output, scale)
        return
    factors = _read_factors(output)
    by_rows = not output.is_quantized and _is_rowwise(output)
    for rows in [*iterate_rows(output.shape)] if by_rows and output.shape else [None]:
        yield _compute_exact(output, factors, scale, rows)


class _Factors(NamedTuple):
    """The LoRA of a tensor, in 64 bit: sums are then the same in any order of their terms."""

    left: Any
    """As many rows as the tensor; for a bias, all that is added."""
    right: Any
    magnitude: Any


def _read_factors(output: Output) -> _Factors | None:
    lora = output.lora
    if lora is None:
        return None
    if output.is_bias:
        return _Factors(_read_finite(_require(lora.bias)).double() * lora.scaling, None, None)
    left, right = _read_finite(_require(lora.b)).double(), _read_finite(_require(lora.a)).double()
    if lora.is_embedding or output.is_transposed:
        left, right = right.T.contiguous(), left.T.contiguous()
    magnitude = _read_finite(lora.magnitude).double() if lora.magnitude else None
    return _Factors(left, right * lora.scaling, magnitude)


def _is_rowwise(output: Output) -> bool:
    """Return whether rows do not depend on each other: DoRA's norms are over the inputs of a layer."""
    if output.lora is None or output.lora.magnitude is None:
        return True
    return not output.is_transposed and not output.lora.is_embedding


def _compute_exact(
    output: Output, factors: _Factors | None, scale: float, rows: tuple[int, int] | None
) -> Block:
    dtype = to_torch_dtype(output.dtype)
    base = _read_base(output, rows)
    start = _read_saved(output.saved, rows) if output.saved else base
    if not output.is_merged or not start.is_floating_point():
        return Block(start.to(dtype), base, start)
    exact = start.double()
    if factors is not None:
        left = factors.left[rows[0] : rows[1]] if rows else factors.left
        exact = exact + (left if factors.right is None else left @ factors.right)
        if factors.magnitude is not None:
            exact = exact * _compute_dora_factor(output, factors.magnitude, exact, rows)
    if scale != 1.0 and base.shape == exact.shape:
        exact = base.double() + scale * (exact - base.double())
    # In 32 bit first: conversions from 64 to 16 bit differ between processors.
    exact = exact.float()
    return Block(exact.to(dtype), base, exact)


def _compute_dora_factor(
    output: Output, magnitude: Any, value: Any, rows: tuple[int, int] | None
) -> Any:
    """Return DoRA's magnitude over the norm of ``value``, for its rows or its columns."""
    import torch

    if output.is_transposed or _require(output.lora).is_embedding:
        return (magnitude / torch.linalg.norm(value, dim=0)).view(1, -1)
    magnitude = magnitude[rows[0] : rows[1]] if rows else magnitude
    return (magnitude / torch.linalg.norm(value, dim=1)).view(-1, 1)


def _compute_as_peft(output: Output, scale: float) -> Block:
    dtype = to_torch_dtype(output.dtype)
    base = _read_base(output, None).to(dtype)
    start = _read_saved(output.saved, None).to(dtype) if output.saved else base
    if output.lora is None:
        if output.saved and scale != 1.0 and base.shape == start.shape:
            start = (base.float() + scale * (start.float() - base.float())).to(dtype)
        return Block(start, base, start.float())
    lora, merged = output.lora, start.clone()
    if output.is_bias:
        change = _read_finite(_require(lora.bias)) * (lora.scaling * scale)
        merged += change
        return Block(merged, base, start.float() + change)
    product = _read_finite(_require(lora.b)) @ _read_finite(_require(lora.a))
    if lora.is_embedding or output.is_transposed:
        product = product.T
    if lora.magnitude is None:
        change = product * (lora.scaling * scale)
        exact = start.float() + change
        merged += change.to(dtype) if lora.is_embedding else change
        return Block(merged, base, exact)
    exact = _apply_dora(output, start, product * lora.scaling)
    if scale != 1.0:
        exact = start.float() + scale * (exact - start.float())
    return Block(exact.to(dtype), base, exact)


def _apply_dora(output: Output, start: Any, change: Any) -> Any:
    import torch

    lora = _require(output.lora)
    magnitude = _read_finite(_require(lora.magnitude))
    is_by_column = output.is_transposed or lora.is_embedding
    turned, added = (start.T, change.T) if is_by_column else (start, change)
    norm = torch.linalg.norm(turned + added, dim=1)
    factor = (magnitude / norm).view(-1, 1)
    return (factor.T if is_by_column else factor) * (start + change)


def _read_base(output: Output, rows: tuple[int, int] | None) -> Any:
    if rows and rows[0] >= output.source.shape[0]:  # tokens that only the adapter has
        import torch

        return torch.zeros((0, *output.shape[1:]), dtype=to_torch_dtype(output.source.dtype))
    end = min(rows[1], output.source.shape[0]) if rows else None
    weights = read(output.source, rows[0] if rows else 0, end)
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


def _read_saved(tensor: StoredTensor, rows: tuple[int, int] | None) -> Any:
    value = read(tensor, *rows) if rows else read(tensor)
    return _check_finite(value, tensor)


def _read_finite(tensor: StoredTensor) -> Any:
    return _check_finite(read(tensor), tensor).float()


def _check_finite(value: Any, tensor: StoredTensor) -> Any:
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
