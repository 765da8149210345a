"""Peak memory of the real model class, from its configuration alone: every tensor is counted.

Tensors are fakes, which have sizes and no data, so that this needs no weights and no GPU: 5 to 50
seconds on a CPU. It runs the steps of ``ftwizard.train`` (autocast, adapters by peft,
checkpointing, TRL's tiles) once, and books each storage when it is born and when it dies. For what
the closed form of ``ftwizard.estimate.memory`` was not checked on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import is_padded
from ftwizard.estimate.memory import Memory, from_parts
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.stack import OURS, Stack
from ftwizard.text import visible
from ftwizard.train import quiet
from ftwizard.train.booking import Book, booking
from ftwizard.train.dry_model import build, experts, head_and_loss, masks, materialise

_PREFIX = re.compile(r"^\[[\w:.]+\] ")
"""What peft puts before its messages: ``[PEFT:PeftType.LORA]``."""


def ledger(config: Mapping[str, object], setup: Setup, *, stack: Stack = OURS) -> Memory:
    """Return what training a model of ``config`` (a config.json) as ``setup`` says takes.

    Raises FtwizardError for a configuration that transformers cannot build a causal language
    model from, for targets that the model does not have, and for a class that cannot be run so.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    quiet.libraries()
    quiet.fakes()
    doing = "made ready to train"
    try:
        model = build(config, setup, stack)
        doing = "run without weights"
        with FakeTensorMode(allow_non_fake_inputs=True):
            book = run(model, setup, stack)
    except FtwizardError:
        raise
    except Exception as error:  # of any model's class, or of a library that refuses it
        hint = "A few real steps measure it: ftwizard probe PLAN."
        raise FtwizardError(_why(error, doing), hint) from error
    return from_parts(
        book.at_peak,
        moment=book.moment,
        trained=book.trained,
        stack=stack,
        source="counted tensor by tensor on the model's own class, without weights",
    )


def _why(error: Exception, doing: str) -> str:
    """Say why a class could not be run on fakes."""
    from torch._subclasses import fake_tensor

    by_value: Any = (
        fake_tensor.DataDependentOutputException,
        fake_tensor.DynamicOutputShapeException,
    )
    if isinstance(error, by_value):
        return "The model's class decides by the values in its tensors, which only weights give."
    first = _PREFIX.sub("", (str(error).splitlines() or [""])[0])
    said = visible(first, 200) or type(error).__name__
    return f"The model's class cannot be {doing}: {said.rstrip('.')}."


def run(model: Any, setup: Setup, stack: Stack = OURS) -> Book:
    """Do one step with tensors of the mode that is on, fake or real; return its book."""
    import torch

    materialise(model)
    trained = [one for one in model.parameters() if one.requires_grad]
    book = Book(words=int(model.config.get_text_config().vocab_size))
    book.trained = sum(one.numel() for one in trained)
    book.hold("weights", *(one for one in model.parameters() if not one.requires_grad))
    book.hold("weights", *model.buffers())
    book.hold("weights" if setup.method == "full" else "adapter", *trained)
    moments = [torch.empty_like(one) for one in trained for _ in range(2)]
    book.hold("optimizer", *moments)
    for one in trained:
        one.register_post_accumulate_grad_hook(book.gradient)
    rows = torch.zeros((setup.batch_size, setup.length), dtype=torch.long)
    with booking(book), masks(is_padded(setup, stack)), experts(setup):
        for _ in range(min(setup.accumulation, 2)):
            _pass(model, rows, setup, stack, book)
        book.moment_now = "step"
        book.look()
    return book


def _pass(model: Any, rows: Any, setup: Setup, stack: Stack, book: Book) -> None:
    """Do one forward and backward pass."""
    book.moment_now = "loss"
    with _autocast(setup, stack):
        loss = head_and_loss(model, rows, setup)
    book.moment_now = "backward"
    loss.backward()


def _autocast(setup: Setup, stack: Stack) -> Any:
    import torch

    if setup.precision == "fp32" or not stack.autocast:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)
