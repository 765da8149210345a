"""Peak memory of a real model class, counted tensor by tensor from its configuration.

With fake tensors, which have sizes but no data, this needs neither weights nor a GPU: 5 to 50
seconds on a CPU. It runs the steps of ``ftwizard.train`` (autocast, peft adapters, checkpointing,
TRL's tiles) once and tracks the lifetime of each storage. Stand-ins for 4-bit weights, dropout and
TRL's loss allocate what the originals allocate, and compute nothing meaningful. It is for models on
which the closed form in ``ftwizard.estimate.memory`` was not verified. Counts are cached.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_machine
from ftwizard.estimate.activations import is_padded
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import MemoryEstimate, from_parts
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, FrameworkOverhead, TrainingSetup
from ftwizard.hardware.machine import MachineInfo, is_installed
from ftwizard.jobs.folder import write_json
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.text import make_visible
from ftwizard.train import runtime, target_modules

_BLOCK_BYTES = 512
"""torch's CUDA allocator rounds each block up to a multiple of this."""
_BLOCK, _SCALES = 64, 256
"""NF4: weights per scale, and scales per second-level scale in double quantization."""
_STORAGE_KEYS = frozenset(("quantization_config", "auto_map", "dtype", "torch_dtype"))
"""Config keys that describe how the weights are stored, not the model."""
_LIBRARIES = ("ftwizard", "torch", "transformers", "peft", "trl")
"""Libraries whose versions may change a count."""
_PREFIX = re.compile(r"^\[[\w:.]+\] ")
"""The prefix of peft's messages: ``[PEFT:PeftType.LORA]``."""


class MemoryCount(NamedTuple):
    """Memory of a plan from a count of tensors; empty where none is needed."""

    memory: MemoryEstimate | None = None
    why: str | None = None
    """Why it could not be counted, as a sentence; else None."""


def count_plan(
    plan: Plan, config: Mapping[str, Any] | None, shape: ModelShape | None,
    lengths: Mapping[str, LengthDistribution | None], facts: MachineInfo, say: Callable[..., None],
) -> MemoryCount:  # fmt: skip
    """Count the memory of a plan that the closed form does not cover.

    That is an uncovered ``shape``, or training without gradient checkpointing, where it depends on
    the model's class. ``config``: the model's config.json; ``shape``: None if its layers are unknown.
    """
    setup = training_machine.setup(plan, lengths, facts, shape)
    if shape is not None and (not facts.gpus or (shape.covered and setup.checkpointing)):
        return MemoryCount()
    if not config:
        return MemoryCount(why="Its configuration is unknown.")
    if not facts.gpus:
        why = "Tensors are counted for GPUs only, and there is none. "
        try:
            architectures.build_shape(config, "its config.json")
        except FtwizardError as error:
            why += error.message
        return MemoryCount(why=why)
    if not is_installed("torch"):
        return MemoryCount(
            why="Counting tensors on the model's own class needs the training libraries: "
            "pip install 'ftwizard[local]'."
        )
    return count_memory(config, setup, say)


def count_memory(
    config: Mapping[str, Any], setup: TrainingSetup, say: Callable[..., None]
) -> MemoryCount:
    """Count the memory of a model with this config.json, or return why that fails."""
    file = _cache_file(config, setup)
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return MemoryCount(msgspec.json.decode(file.read_bytes(), type=MemoryEstimate))
    say("counting memory", what="on the model's own class, without weights; up to a minute")
    try:
        memory = run_memory_ledger(config, setup)
    except FtwizardError as error:
        return MemoryCount(why=f"Its tensors could not be counted. {error.message}")
    with contextlib.suppress(OSError, FtwizardError):  # next time it is counted again
        locations.create_private_folder(file.parent)
        write_json(file, memory)
    return MemoryCount(memory)


def _cache_file(config: Any, setup: TrainingSetup) -> Path:
    setup = msgspec.structs.replace(setup, alpha=None)  # does not change any tensor's size
    versions = [metadata.version(name) for name in _LIBRARIES]
    key = hashlib.sha256(msgspec.json.encode([config, setup, versions], order="deterministic"))
    return locations.cache_folder() / "ledgers" / f"{key.hexdigest()[:24]}.json"


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
    # torch would print a traceback for operations that fake tensors do not support.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    action = "prepared for training"
    try:
        model = build_model(config, setup)
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


def run_step(
    model: Any, setup: TrainingSetup, stack: FrameworkOverhead = FTWIZARD_OVERHEAD
) -> StorageLedger:
    """Run one optimizer step on fake or real tensors; return its storage ledger."""
    import torch

    materialize(model)
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    storage = StorageLedger(int(model.config.get_text_config().vocab_size))
    storage.trained = sum(parameter.numel() for parameter in trained)
    storage.record("weights", *(p for p in parameters if not p.requires_grad), *model.buffers())
    storage.record("weights" if setup.method == "full" else "adapter", *trained)
    moments = [torch.empty_like(parameter) for parameter in trained for _ in range(2)]
    storage.record("optimizer", *moments)
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(
            lambda parameter: storage.record("gradients", parameter.grad)
        )
    rows = torch.zeros((setup.batch_size, setup.length), dtype=torch.long)
    is_16_bit = setup.precision != "fp32"
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_16_bit)
    with track_storage(storage), _adapt_transformers(setup, padded=is_padded(setup, stack)):
        for _ in range(min(setup.accumulation, 2)):
            storage.phase = "loss"
            with autocast:
                loss = compute_loss(model, rows, setup)
            storage.phase = "backward"
            loss.backward()
        storage.phase = "step"
        storage.update_peak()
    return storage


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


class StorageLedger:
    """Bytes in use now and at the peak, by part."""

    def __init__(self, vocabulary: int) -> None:
        self.now: Counter[str] = Counter()
        self.at_peak: dict[str, float] = {}
        self.peak = 0
        self.peak_phase = "loss"
        self.phase = "loss"
        self.trained = 0
        """Trainable parameters."""
        self._alive: dict[int, tuple[int, str]] = {}
        self._vocabulary = vocabulary

    def record(self, part: str, *tensors: Any) -> None:
        """Record tensors under ``part``, moving those that are recorded already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._alive:
                size, old = self._alive[key]
                self.now[old] -= size
            else:
                size = -(-storage.nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES
                weakref.finalize(storage, self._release, key)
            self._alive[key] = (size, part)
            self.now[part] += size

    def record_output(self, tensor: Any) -> None:
        """Record an operation's output, unless its storage is recorded already."""
        if tensor.untyped_storage()._cdata not in self._alive:
            is_logits = tensor.ndim and tensor.shape[-1] == self._vocabulary
            self.record("logits" if is_logits else "activations", tensor)

    def update_peak(self) -> None:
        """Compare the current total with the peak so far."""
        total = self.now.total()
        if total > self.peak:
            self.peak, self.peak_phase = total, self.phase
            self.at_peak = {name: float(size) for name, size in self.now.items()}

    def _release(self, key: int) -> None:
        size, part = self._alive.pop(key)
        self.now[part] -= size


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


def build_model(config: Mapping[str, object], setup: TrainingSetup) -> Any:
    """Return the model ready for training on torch's ``meta`` device; call ``materialize`` next.

    Raises FtwizardError for a configuration that transformers cannot build, and for missing target
    modules.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    model = _from_config(config, setup)
    if setup.method != "full":
        model.requires_grad_(False)
        if setup.method == "qlora":  # bitsandbytes packs every linear layer but the output layer
            output = model.get_output_embeddings()
            kinds = (torch.nn.Linear, Conv1D)
            _replace(model, lambda x: x is not output and type(x) in kinds, _pack)
        model = _add_adapter(model, setup)
        _replace(
            model, lambda layer: isinstance(layer, torch.nn.Dropout), lambda _: _dropout_class()()
        )
    if setup.checkpointing:
        # Renamed in transformers 5.2x, where the old name warns.
        enable = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", enable)({"use_reentrant": False})
        if setup.method != "full":
            model.enable_input_require_grads()
    model.config.use_cache = False
    return model.train()


def _from_config(config: Mapping[str, object], setup: TrainingSetup) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto_config: Any = AutoConfig
    auto_model: Any = AutoModelForCausalLM
    is_32_bit = setup.precision == "fp32" or setup.method == "full"
    dtype = torch.float32 if is_32_bit else torch.bfloat16
    shape = {key: value for key, value in config.items() if key not in _STORAGE_KEYS}
    try:
        with torch.device("meta"):
            return auto_model.from_config(
                auto_config.for_model(**shape), dtype=dtype, trust_remote_code=False,
                **({"attn_implementation": "eager"} if setup.attention == "eager" else {}),
            )  # fmt: skip
    except Exception as error:  # arbitrary values from the config can raise anything
        message = make_visible((str(error).splitlines() or [type(error).__name__])[0], 300)
        raise FtwizardError(
            f"transformers cannot build a causal language model from this config: {message}",
            "Use the config.json of a model that transformers supports.",
        ) from error


def _add_adapter(model: Any, setup: TrainingSetup) -> Any:
    """Add an adapter in 32 bit, as ftwizard trains it."""
    from peft import LoraConfig, get_peft_model

    resolved = target_modules.resolve(model, setup.targets)
    config = LoraConfig(
        r=setup.rank,
        lora_dropout=0.05 if setup.dropout and not resolved.parameters else 0.0,
        target_modules=resolved.modules,
        target_parameters=resolved.parameters or None,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _replace(model: Any, is_replaced: Callable[[Any], bool], make: Callable[[Any], Any]) -> None:
    """Replace the layers of a model that ``is_replaced`` selects."""
    for owner in list(model.modules()):
        for name, layer in list(owner.named_children()):
            if is_replaced(layer):
                setattr(owner, name, make(layer))


def _apply(function: Any, *args: Any) -> Any:
    return function.apply(*args)


@functools.cache
def _dropout_class() -> Any:
    """Return a dropout that keeps a mask of bytes, as on CUDA; the CPU's keeps 32 bits."""
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


def _pack(layer: Any) -> Any:
    """Return the packed layer for a linear layer, or for a Conv1D, whose weight is transposed."""
    import torch

    shape = layer.weight.shape
    inputs, outputs = shape[::-1] if isinstance(layer, torch.nn.Linear) else shape
    return _packed_class()(inputs, outputs, layer.bias is not None)


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


@contextlib.contextmanager
def _adapt_transformers(setup: TrainingSetup, *, padded: bool) -> Iterator[None]:
    """Let transformers run on fake tensors as it does on the rows of a training.

    It detects packed rows by the values of their positions. Fake tensors have none, so that it would
    always create an attention mask. And torch's fake version of grouped_mm only supports 16 bit;
    without it, experts in 32 bit allocate tensors of the same sizes.
    """
    from transformers import masking_utils

    with contextlib.ExitStack() as patches:
        if not padded:
            patches.enter_context(
                mock.patch.object(
                    masking_utils, "find_packed_sequence_indices", lambda *_, **__: None
                )
            )
        if setup.method == "full" or setup.precision == "fp32":
            from transformers.integrations import moe

            patches.enter_context(
                mock.patch.object(moe, "_can_use_grouped_mm", lambda *_, **__: False)
            )
        yield


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
