"""Training of a model whose weights are sharded over processes (FSDP2), with checkpoints of one process.

Each process holds a part of every weight, gradient and optimizer state, and gathers a layer when it
computes it. Versions looked at: accelerate 1.15, transformers 5.24, TRL 1.16, torch 2.13.

accelerate's own checkpoints are not used:

- They add ``pytorch_model_fsdp.bin``: all weights again, or for an adapter its tied embeddings. A
  folder with that file cannot be resumed without FSDP.
- They gather the frozen base model for each checkpoint of an adapter.
- With accelerate's activation checkpointing, they hold an adapter without tensors.

So ``ShardedCheckpoints`` gathers only trained weights, one at a time, and writes the files that one
process writes. A run can continue with another number of processes, sharded or not, without any
loss: each sees the same weights and optimizer states.

Activation checkpointing is transformers' alone. accelerate's draws other dropout masks when it
computes a layer again: the gradients are then not those of the loss.

accelerate shards only on accelerators: on the CPU, it silently trains with DistributedDataParallel.
``shard_on_cpu`` changes that. ``verify_sharded`` makes sure in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.version import Version

from ftwizard.errors import FtwizardError
from ftwizard.estimate import batching, plan_estimate, training_machine
from ftwizard.estimate.parallelism import ParallelChoice, choose_for_plan
from ftwizard.hardware import machine
from ftwizard.plan.schema import Plan
from ftwizard.train.encoder import EncodedRow

MIN_ACCELERATE = "1.15.0"
"""Before it, FSDP2 saved one process's part of an adapter, without a message (its issue 4206)."""
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
"""Names of transformers' files."""
_WRAPPER = "_checkpoint_wrapped_module."


def choose(
    plan: Plan, base: Path, encoded: Mapping[str, Sequence[EncodedRow]]
) -> ParallelChoice | None:
    """Return how the plan's processes train together; None for one alone."""
    if plan.ranks == 1:
        return None
    facts, shape = machine.read_machine_info(), plan_estimate.read_shape(base)
    lengths = {"train": batching.from_counts([len(row.input_ids) for row in encoded["train"]])}
    device = training_machine.plan_gpu(plan, facts)
    return choose_for_plan(
        plan,
        shape=shape,
        setup=training_machine.setup(plan, lengths, facts, shape),
        free_bytes=device.free if device else None,
        on_gpu=device is not None,
    )


def check_accelerate(installed: str | None = None) -> None:
    """Raise FtwizardError if accelerate is too old to shard; ``installed``: its version."""
    if installed is None:
        import accelerate

        installed = accelerate.__version__
    if Version(installed) < Version(MIN_ACCELERATE):
        raise FtwizardError(
            f"accelerate {installed} cannot be used to shard a model: it saves a part of the "
            "adapter only.",
            f"Install a newer one: pip install -U 'accelerate>={MIN_ACCELERATE}'",
        )


def build_settings(*, has_gpu: bool) -> dict[str, Any]:
    """Return what TRL's configuration needs to shard."""
    settings: dict[str, Any] = {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "state_dict_type": "FULL_STATE_DICT",
            "reshard_after_forward": True,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "activation_checkpointing": False,  # transformers' is the only switch
            "cpu_ram_efficient_loading": False,
        },
    }
    if not has_gpu:
        settings["accelerator_config"] = {"use_configured_state": True}
    return settings


def shard_on_cpu() -> None:
    """Let accelerate shard in this process's group on the CPU; call it before TRL's configuration.

    accelerate turns to FSDP only from the types of its accelerators. The type is replaced by FSDP
    when the trainer is built.
    """
    from accelerate.state import AcceleratorState, DistributedType, PartialState

    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU


def begin(*, has_gpu: bool) -> None:
    """Prepare this process, before its model is loaded; raise FtwizardError if it cannot shard."""
    check_accelerate()
    if not has_gpu:
        shard_on_cpu()


def attach(trainer: Any, precision: str) -> None:
    """Let ``trainer`` shard its model when it begins to train, and save as one process does."""
    set_precision(trainer, precision)
    ShardedCheckpoints(trainer)


def check_precision(precision: str) -> None:
    """Raise FtwizardError for a precision in which sharded training was never verified."""
    if precision == "fp16":
        raise FtwizardError(
            "Sharded training (where.parallel: fsdp) does not support fp16.",
            "Set recipe.precision to bf16 or fp32, or where.parallel to ddp.",
        )


def set_precision(trainer: Any, precision: str) -> None:
    """Gather weights in the precision of the computation; sum gradients and compute losses in 32 bit.

    accelerate's default rounds the loss and the sum of gradients to 16 bit: a loss of 10.57 was
    logged as 10.59. 4-bit weights are stored in this precision, so they are not converted.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def verify_sharded(model: Any) -> None:
    """Raise FtwizardError unless all weights are sharded, in units of a layer."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    whole = [name for name, value in model.named_parameters() if not isinstance(value, DTensor)]
    units = sum(isinstance(module, FSDPModule) for module in model.modules())
    layers = model.config.get_text_config().num_hidden_layers
    if not whole and units >= layers:
        return
    reason = (
        f"{len(whole):,} weights stay whole on each GPU, such as {whole[0]}"
        if whole
        else f"its {layers} layers form {units} units"
    )
    raise FtwizardError(
        f"The model cannot be sharded: {reason}.",
        "Set where.parallel to ddp, or choose another model architecture.",
    )


class ShardedCheckpoints:
    """Takes the place of a trainer's saving and loading of sharded weights and optimizer states.

    All processes gather; the first one writes. Both are gathered before anything is written: if its
    disk fails, no other process waits for the rest.
    """

    def __init__(self, trainer: Any) -> None:
        """Wrap ``trainer``, before it trains."""
        self._trainer = trainer
        self._states: dict[str, Any] = {}
        """What was gathered of the optimizer; empty but in the process that writes."""
        self._load_weights = trainer._load_from_checkpoint
        self._prepare = trainer._prepare_for_training
        trainer._prepare_for_training = self.prepare
        trainer._load_from_checkpoint = lambda *_, **__: None  # done before sharding
        trainer._load_optimizer_and_scheduler = self.load_states
        trainer.save_model = self.save_weights
        trainer._save_optimizer_and_scheduler = self.save_states

    def prepare(self, steps: int, loader: Any, checkpoint: str | None) -> Any:
        """Load a checkpoint's weights, shard the model, and load the optimizer states."""
        trainer = self._trainer
        if checkpoint is not None:
            # Each process has the whole model until it is sharded.
            trainer.is_fsdp_enabled = False
            try:
                self._load_weights(checkpoint)
            finally:
                trainer.is_fsdp_enabled = True
        prepared = self._prepare(steps, loader, checkpoint)
        verify_sharded(trainer.model)
        _gather_once(trainer.model)
        return prepared

    def save_weights(self, folder: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained weights, as ``Trainer.save_model`` of one process does."""
        trainer = self._trainer
        _reshard(trainer.model)
        weights = dict(_gather_weights(trainer.model, keep=trainer.args.should_save))
        self._states = gather(trainer.optimizer.state_dict(), keep=trainer.args.should_save)
        if trainer.args.should_save:
            trainer._save(folder, state_dict=weights)

    def save_states(self, folder: str) -> None:
        """Write the optimizer and the schedule; their states were gathered with the weights."""
        import torch

        states, self._states = self._states, {}
        if not self._trainer.args.should_save:
            return
        torch.save(states, Path(folder) / OPTIMIZER)
        torch.save(self._trainer.lr_scheduler.state_dict(), Path(folder) / SCHEDULER)

    def load_states(self, folder: str | None) -> None:
        """Load this process's part of the optimizer states, and the schedule."""
        import torch

        if folder is None:
            return
        optimizer, path = self._trainer.optimizer, Path(folder)
        states = torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for index, entries in states["state"].items():
            for name, value in entries.items():
                entries[name] = _shard_like(weights[index], value)
        optimizer.load_state_dict(states)
        schedule = torch.load(path / SCHEDULER, map_location="cpu", weights_only=True)
        self._trainer.lr_scheduler.load_state_dict(schedule)


def _gather_once(model: Any) -> None:
    """Gather each unit once, one at a time.

    TRL's loss takes the weights of the output layer without calling it, so that its unit may never be
    gathered. Where gradients of several passes are added up in another precision than they are computed
    in, torch 2.13 fails at such a unit: ``FSDPParam.to_accumulated_grad_if_needed``.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()


def _reshard(model: Any) -> None:
    """Give up the weights that an evaluation left gathered: they are no longer tensors of the model."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _gather_weights(model: Any, *, keep: bool) -> Iterator[tuple[str, Any]]:
    """Yield names and whole weights that are trained, or for a full fine-tune all; tied ones once."""
    weights = dict(model.named_parameters())
    is_partial = not all(weight.requires_grad for weight in weights.values())
    for name, weight in weights.items():
        if weight.requires_grad:
            yield name.replace(_WRAPPER, ""), gather(weight, keep=keep)
    if is_partial:
        return
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in model.state_dict().items():
        if name not in names:  # a buffer
            yield name, gather(value, keep=keep)


def gather(value: Any, *, keep: bool = True) -> Any:
    """Return ``value`` with whole tensors on the CPU for sharded ones; all processes must call it.

    Without ``keep``, this process only takes part, and gets None for each tensor.
    """
    import torch
    from torch.distributed.tensor import DTensor

    if isinstance(value, dict):
        return {name: gather(item, keep=keep) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gather(item, keep=keep) for item in value)
    if isinstance(value, DTensor):
        value = value.full_tensor()
    if isinstance(value, torch.Tensor):
        return value.detach().cpu() if keep else None
    return value


def _shard_like(weight: Any, value: Any) -> Any:
    """Return this process's part of ``value``, a whole tensor of the shape of ``weight``; else it."""
    import torch
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(value, torch.Tensor) or not isinstance(weight, DTensor):
        return value
    if not value.dim() or value.shape != weight.shape:
        return value
    whole = value.to(device=weight.device)
    # Every process has read the whole tensor: nothing is sent.
    return distribute_tensor(whole, weight.device_mesh, weight.placements, src_data_rank=None)
