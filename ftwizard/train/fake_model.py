"""Fake models for memory accounting: the real class with stand-ins for 4-bit weights and TRL's loss.

The stand-ins allocate what the originals allocate, and compute nothing meaningful.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.estimate.training_setup import FrameworkOverhead, TrainingSetup
from ftwizard.text import make_visible
from ftwizard.train import target_modules

_BLOCK, _SCALES = 64, 256
"""NF4: weights per scale, and scales per second-level scale in double quantization."""

_STORAGE_KEYS = frozenset(("quantization_config", "auto_map", "dtype", "torch_dtype"))
"""Config keys that describe how the weights are stored, not the model."""


def build_model(
    config: Mapping[str, object], setup: TrainingSetup, stack: FrameworkOverhead
) -> Any:
    """Return the model ready for training on torch's ``meta`` device; call ``materialize`` next.

    Raises FtwizardError for a configuration that transformers cannot build, and for missing target
    modules.
    """
    model = _from_config(config, setup, stack)
    if setup.method != "full":
        model.requires_grad_(False)
        if setup.method == "qlora":
            _replace_linear_layers(model)
        model = _add_adapter(model, setup, stack)
        _replace_dropout(model)
    if setup.checkpointing:
        # Renamed in transformers 5.2x, where the old name warns.
        enable = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", enable)({"use_reentrant": False})
        if setup.method != "full":
            model.enable_input_require_grads()
    model.config.use_cache = False
    return model.train()


def _from_config(
    config: Mapping[str, object], setup: TrainingSetup, stack: FrameworkOverhead
) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto_config: Any = AutoConfig
    auto_model: Any = AutoModelForCausalLM
    is_32_bit = setup.precision == "fp32" or (setup.method == "full" and stack.full_bytes == 4)
    dtype = torch.float32 if is_32_bit else torch.bfloat16
    shape = {key: value for key, value in config.items() if key not in _STORAGE_KEYS}
    try:
        with torch.device("meta"):
            return auto_model.from_config(
                auto_config.for_model(**shape), dtype=dtype, trust_remote_code=False
            )
    except Exception as error:  # arbitrary values from the config can raise anything
        message = make_visible((str(error).splitlines() or [type(error).__name__])[0], 300)
        raise FtwizardError(
            f"transformers cannot build a causal language model from this config: {message}",
            "Use the config.json of a model that transformers supports.",
        ) from error


def _add_adapter(model: Any, setup: TrainingSetup, stack: FrameworkOverhead) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    resolved = target_modules.resolve(model, setup.targets)
    config = LoraConfig(
        r=setup.rank,
        lora_dropout=0.05 if stack.dropout and not resolved.parameters else 0.0,
        target_modules=resolved.modules,
        target_parameters=resolved.parameters or None,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    is_32_bit = stack.adapter_bytes == 4 or setup.precision == "fp32"
    dtype = torch.float32 if is_32_bit else torch.bfloat16
    for owner in model.modules():
        for name, value in list(owner.named_parameters(recurse=False)):
            if value.requires_grad:
                setattr(owner, name, torch.nn.Parameter(value.to(dtype)))
    return model


def _replace_dropout(model: Any) -> None:
    """Use a dropout that keeps a mask of bytes, as on CUDA; the CPU's keeps 32 bits."""
    import torch

    for owner in list(model.modules()):
        for name, layer in list(owner.named_children()):
            if isinstance(layer, torch.nn.Dropout):
                setattr(owner, name, _dropout_class()())


def _apply(function: Any, *args: Any) -> Any:
    return function.apply(*args)


@functools.cache
def _dropout_class() -> Any:
    import torch

    class MaskedDropout(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            mask = torch.ones_like(x, dtype=torch.bool)
            ctx.save_for_backward(mask)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * ctx.saved_tensors[0]

    class Dropout(torch.nn.Dropout):
        def __init__(self) -> None:
            super().__init__(0.0)  # read by attention, whose GPU kernels keep no mask

        def forward(self, x: Any) -> Any:
            return _apply(MaskedDropout, x)

    return Dropout


def materialize(model: Any) -> None:
    """Replace every parameter and buffer with a CPU tensor, a fake one in FakeTensorMode."""
    import torch

    device = torch.device("cpu")
    created: dict[int, Any] = {}
    for owner in model.modules():
        for name, value in list(owner.named_parameters(recurse=False)):
            if id(value) not in created:
                fresh = torch.empty(value.shape, dtype=value.dtype, device=device)
                if fresh.is_floating_point():
                    torch.nn.init.normal_(fresh, std=0.02)
                created[id(value)] = torch.nn.Parameter(fresh, requires_grad=value.requires_grad)
            owner._parameters[name] = created[id(value)]
        for name, value in list(owner.named_buffers(recurse=False)):
            owner._buffers[name] = torch.ones(value.shape, dtype=value.dtype, device=device)


def _replace_linear_layers(model: Any) -> None:
    """Use packed layers where bitsandbytes does: in every linear layer except the output layer."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    for owner in list(model.modules()):
        for name, layer in list(owner.named_children()):
            if layer is output or type(layer) not in (torch.nn.Linear, Conv1D):
                continue
            inputs, outputs = layer.weight.shape[::-1]
            if isinstance(layer, Conv1D):
                inputs, outputs = outputs, inputs
            setattr(owner, name, _packed_class()(inputs, outputs, layer.bias is not None))


@functools.cache
def _packed_class() -> Any:
    """Return a linear layer class that allocates memory like one with 4-bit weights.

    Source: MatMul4Bit of bitsandbytes 0.50. It unpacks to a temporary tensor in the forward and
    again in the backward pass, and saves only the packed weights.
    """
    import torch

    class Unpacking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, packed: Any, shape: tuple[int, int]) -> Any:
            ctx.save_for_backward(packed)
            ctx.shape = shape
            return x @ packed.new_empty(shape, dtype=x.dtype).t()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (packed,) = ctx.saved_tensors
            return gradient @ packed.new_empty(ctx.shape, dtype=gradient.dtype), None, None

    class Packed(torch.nn.Linear):
        def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
            super().__init__(inputs, outputs, bias=bias, device="meta", dtype=torch.bfloat16)
            count = inputs * outputs
            scales = -(-count // _BLOCK)
            self.weight = torch.nn.Parameter(
                torch.empty(-(-count // 2), 1, dtype=torch.uint8, device="meta"),
                requires_grad=False,
            )
            self.register_buffer("scales", torch.empty(scales, dtype=torch.uint8, device="meta"))
            self.register_buffer(
                "scales_of_scales", torch.empty(-(-scales // _SCALES), device="meta")
            )
            self.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            is_autocast = torch.is_autocast_enabled("cpu")
            dtype = torch.get_autocast_dtype("cpu") if is_autocast else x.dtype
            shape = (self.out_features, self.in_features)
            output = _apply(Unpacking, x.to(dtype), self.weight, shape)
            return output if self.bias is None else output + self.bias

    return Packed


@contextlib.contextmanager
def attention_masks(padded: bool) -> Iterator[None]:
    """Create attention masks for padded rows, or none if not ``padded``.

    transformers detects packed rows by the values of their positions. Fake tensors have none, so
    that it would always create a mask.
    """
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices
    if not padded:
        masking_utils.find_packed_sequence_indices = lambda *_, **__: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original


@contextlib.contextmanager
def allow_32_bit_experts(setup: TrainingSetup) -> Iterator[None]:
    """Avoid grouped_mm for experts in 32 bit: torch's fake version only supports 16 bit.

    transformers' implementation without it allocates tensors of the same sizes.
    """
    try:
        from transformers.integrations import moe
    except ImportError:  # a release without fused experts
        yield
        return
    original = moe._can_use_grouped_mm
    if setup.method == "full" or setup.precision == "fp32":
        moe._can_use_grouped_mm = lambda *_, **__: False
    try:
        yield
    finally:
        moe._can_use_grouped_mm = original


def compute_loss(model: Any, rows: Any, setup: TrainingSetup) -> Any:
    """Return the loss as the trainer computes it, in tiles or from all logits."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if setup.head == "full":
        return model(input_ids=rows, labels=rows).loss
    # Llama 4's decoder is not named after the prefix of its weights.
    decoder = base.base_model if base.base_model is not base else base.model
    hidden = decoder(input_ids=rows, use_cache=False).last_hidden_state[:, :-1]
    # TRL copies the trainable tokens: at most all of them.
    hidden = hidden.reshape(-1, hidden.shape[-1]).clone()
    return _tiled_class().apply(hidden, base.get_output_embeddings().weight).sum()


@functools.cache
def _tiled_class() -> Any:
    """Return a function that allocates memory like TRL's tiled head on a GPU.

    Source: ChunkedLogProbFunction of TRL 1.16 (trl/kernels/chunked_logprob.py), whose kernel works
    in place.
    """
    import torch

    def allocate_tile(hidden: Any, weight: Any) -> Any:
        tokens, vocabulary = FrameworkOverhead().tile
        dtype = hidden.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        size = min(tokens, len(hidden)), min(vocabulary, len(weight))
        buffer = hidden.new_empty(*size, dtype=dtype)
        return buffer, hidden[:tokens].to(dtype), weight[:vocabulary].to(dtype)

    class Tiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any) -> Any:
            ctx.save_for_backward(hidden, weight)
            allocate_tile(hidden, weight)
            return hidden.new_zeros(len(hidden), dtype=torch.float32)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            hidden, weight = ctx.saved_tensors
            hidden_gradient = torch.zeros_like(hidden, dtype=torch.float32)
            weight_gradient = None
            if ctx.needs_input_grad[1]:
                weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
            allocate_tile(hidden, weight)
            if weight_gradient is not None:
                weight_gradient = weight_gradient.to(weight.dtype)
            return hidden_gradient.to(hidden.dtype), weight_gradient

    return Tiled
