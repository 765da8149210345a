"""A model to count on: the real class with what stands in for 4-bit weights and TRL's loss.

Both stand-ins allocate what the originals allocate and compute nothing that matters.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.stack import Stack
from ftwizard.text import visible
from ftwizard.train import targets

_BLOCK, _SCALES = 64, 256
"""NF4: weights that share a scale, and scales that share one in double quantisation."""


def build(config: Mapping[str, object], setup: Setup, stack: Stack) -> Any:
    """Return the model ready to train, on torch's device ``meta``; ``materialise`` comes next.

    Raises FtwizardError for what transformers cannot build and for targets it does not have.
    """
    model = _from_config(config, setup, stack)
    if setup.method != "full":
        model.requires_grad_(False)
        if setup.method == "qlora":
            _pack(model)
        model = _adapted(model, setup, stack)
        _thin_as_on_gpus(model)
    if setup.checkpointing:
        # transformers 5.2x renames it; the old name then warns.
        old = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", old)({"use_reentrant": False})
        if setup.method != "full":
            model.enable_input_require_grads()
    model.config.use_cache = False
    return model.train()


def _from_config(config: Mapping[str, object], setup: Setup, stack: Stack) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known: Any = AutoConfig
    auto: Any = AutoModelForCausalLM
    wide = setup.precision == "fp32" or (setup.method == "full" and stack.full_bytes == 4)
    kind = torch.float32 if wide else torch.bfloat16
    try:
        settings = known.for_model(**{k: v for k, v in config.items() if k in _keys(config)})
        with torch.device("meta"):
            return auto.from_config(settings, dtype=kind, trust_remote_code=False)
    except (
        Exception
    ) as error:  # a stranger's values reach its arithmetic: any error there is theirs
        said = visible((str(error).splitlines() or [type(error).__name__])[0], 300)
        raise FtwizardError(
            f"transformers cannot build a causal language model from this configuration: {said}",
            "It needs the config.json of a model that transformers knows.",
        ) from error


def _keys(config: Mapping[str, object]) -> set[str]:
    """Return the keys that describe the model, not how a copy of its weights is stored."""
    return set(config) - {"quantization_config", "auto_map", "dtype", "torch_dtype"}


def _adapted(model: Any, setup: Setup, stack: Stack) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    found = targets.resolve(model, setup.targets)
    config = LoraConfig(
        r=setup.rank,
        lora_dropout=0.05 if stack.dropout and not found.parameters else 0.0,
        target_modules=found.modules,
        target_parameters=found.parameters or None,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    kind = torch.float32 if stack.adapter_bytes == 4 else torch.bfloat16
    if setup.precision == "fp32":
        kind = torch.float32
    for owner in model.modules():
        for name, value in list(owner.named_parameters(recurse=False)):
            if value.requires_grad:
                setattr(owner, name, torch.nn.Parameter(value.to(kind)))
    return model


def _thin_as_on_gpus(model: Any) -> None:
    """Put a dropout that keeps a mask of bytes, as CUDA's does; the CPU's keeps 32 bit."""
    import torch

    for owner in list(model.modules()):
        for name, layer in list(owner.named_children()):
            if isinstance(layer, torch.nn.Dropout):
                setattr(owner, name, _dropout_class()())


def _applied(function: Any, *given: Any) -> Any:
    return function.apply(*given)


@functools.cache
def _dropout_class() -> Any:
    import torch

    class Thinning(torch.autograd.Function):
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
            super().__init__(0.0)  # what attention reads: its kernels on GPUs keep no mask

        def forward(self, x: Any) -> Any:
            return _applied(Thinning, x)

    return Dropout


def materialise(model: Any) -> None:
    """Give every parameter and buffer a tensor on the CPU: a fake one where that mode is on."""
    import torch

    device = torch.device("cpu")
    made: dict[int, Any] = {}
    for owner in model.modules():
        for name, value in list(owner.named_parameters(recurse=False)):
            if id(value) not in made:
                fresh = torch.empty(value.shape, dtype=value.dtype, device=device)
                if fresh.is_floating_point():
                    torch.nn.init.normal_(fresh, std=0.02)
                made[id(value)] = torch.nn.Parameter(fresh, requires_grad=value.requires_grad)
            owner._parameters[name] = made[id(value)]
        for name, value in list(owner.named_buffers(recurse=False)):
            owner._buffers[name] = torch.ones(value.shape, dtype=value.dtype, device=device)


def _pack(model: Any) -> None:
    """Put packed layers where bitsandbytes puts its own: every linear layer but the output's."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    for owner in list(model.modules()):
        for name, layer in list(owner.named_children()):
            if layer is output or type(layer) not in (torch.nn.Linear, Conv1D):
                continue
            wide, high = layer.weight.shape[::-1]
            if isinstance(layer, Conv1D):
                wide, high = high, wide
            setattr(owner, name, _packed_class()(wide, high, layer.bias is not None))


@functools.cache
def _packed_class() -> Any:
    """Return the class of a linear layer with 4-bit weights, as far as memory goes.

    Source: MatMul4Bit of bitsandbytes 0.50: it unpacks to a temporary in the forward and again in
    the backward pass, and keeps the packed weights alone.
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
            kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            shape = (self.out_features, self.in_features)
            given = _applied(Unpacking, x.to(kind), self.weight, shape)
            return given if self.bias is None else given + self.bias

    return Packed


@contextlib.contextmanager
def masks(padded: bool) -> Iterator[None]:
    """Let attention have a mask as for padded rows, or none as for one row.

    transformers looks at positions to tell packed rows; fakes have none to look at, and it makes a
    mask to be safe.
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
def experts(setup: Setup) -> Iterator[None]:
    """Let experts in 32 bit be multiplied: torch's fake of grouped_mm takes 16 bit alone.

    transformers' own way without it gives tensors of the same sizes.
    """
    try:
        from transformers.integrations import moe
    except ImportError:  # a release that has no fused experts
        yield
        return
    original = moe._can_use_grouped_mm
    if setup.method == "full" or setup.precision == "fp32":
        moe._can_use_grouped_mm = lambda *_, **__: False
    try:
        yield
    finally:
        moe._can_use_grouped_mm = original


def head_and_loss(model: Any, rows: Any, setup: Setup) -> Any:
    """Return the loss as the trainer computes it, over tiles or over all logits."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if setup.head == "full":
        return model(input_ids=rows, labels=rows).loss
    # Llama 4 names its decoder otherwise than the prefix of its weights says.
    decoder = base.base_model if base.base_model is not base else base.model
    hidden = decoder(input_ids=rows, use_cache=False).last_hidden_state[:, :-1]
    # TRL takes out the tokens that are trained: a copy, of all of them at the most.
    hidden = hidden.reshape(-1, hidden.shape[-1]).clone()
    return _tiled_class().apply(hidden, base.get_output_embeddings().weight).sum()


@functools.cache
def _tiled_class() -> Any:
    """Return TRL's head over tiles, as far as memory goes on a GPU, where its kernel is in place.

    Source: ChunkedLogProbFunction of TRL 1.16 (trl/kernels/chunked_logprob.py).
    """
    import torch

    def tile(hidden: Any, weight: Any) -> Any:
        tokens, words = Stack().tile
        kind = hidden.dtype
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
        buffer = hidden.new_empty(min(tokens, len(hidden)), min(words, len(weight)), dtype=kind)
        return buffer, hidden[:tokens].to(kind), weight[:words].to(kind)

    class Tiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any) -> Any:
            ctx.save_for_backward(hidden, weight)
            tile(hidden, weight)
            return hidden.new_zeros(len(hidden), dtype=torch.float32)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            hidden, weight = ctx.saved_tensors
            of_hidden = torch.zeros_like(hidden, dtype=torch.float32)
            of_weight = None
            if ctx.needs_input_grad[1]:
                of_weight = torch.zeros_like(weight, dtype=torch.float32)
            tile(hidden, weight)
            if of_weight is not None:
                of_weight = of_weight.to(weight.dtype)
            return of_hidden.to(hidden.dtype), of_weight

    return Tiled
