"""Chat with the tuned model of a run and its base, in one process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import placement
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs import base_weights, checkpoints
from ftwizard.runs.chat_protocol import (
    AnswerRequest,
    ChatAnswer,
    EndReason,
    ReadyEvent,
    Side,
)
from ftwizard.runs.result import TrainResult, read_trained
from ftwizard.text import format_count, make_visible
from ftwizard.train import checkpoint_rotation, command, dataset, generate, model_loading, runtime
from ftwizard.train.encoder import Encoder

ENVIRONMENT = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "TOKENIZERS_PARALLELISM",
    "GOMP_SPINCOUNT",
)
"""Variables of a training process that a chat needs, too."""
EMIT_EVERY_S = 0.1
"""Between two texts of an answer."""
MIN_NEW_TOKENS = 16
"""Tokens that must be left for an answer in the model's context."""


class ChatModels:
    """Tuned and base model of a run; with an adapter, both share the base weights."""

    def __init__(self, tuned: Any, base: Any, encoder: Encoder, ready: ReadyEvent) -> None:
        """``base`` is a model of its own, or None: then it is ``tuned`` without its adapter."""
        self.ready = ready
        self._tuned, self._base, self._encoder = tuned, base, encoder

    def answer(
        self,
        request: AnswerRequest,
        on_text: Callable[[str], None] = lambda text: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> ChatAnswer:
        """Answer a request; ``on_text`` is called with the answer so far, a few times per second.

        Raises FtwizardError if the conversation does not fit the model.
        """
        messages = request.messages if self.ready.has_template else request.messages[-1:]
        prompt = self._encoder.prompt_ids(messages, request.tools)
        limit = self._limit_tokens(len(prompt), request.max_new_tokens)
        start = last = time.monotonic()
        count, stopped = 0, False

        def should_stop(tokens: list[int]) -> bool:
            nonlocal last, count, stopped
            count, now = len(tokens), time.monotonic()
            if now - last >= EMIT_EVERY_S:
                last = now
                on_text(self._decode(tokens))
            stopped = is_stopped()
            return stopped

        with self._select(request.side) as model:
            (answer,) = generate.generate_answers(
                model, self._encoder, [prompt], limit, should_stop=should_stop,
                temperature=request.temperature,
            )  # fmt: skip
        ended: EndReason = "limit" if not stopped else "stopped"
        return ChatAnswer(
            text=answer.text,
            reason="end" if answer.ended else ended,
            tokens=count,
            seconds=round(time.monotonic() - start, 2),
        )

    @contextlib.contextmanager
    def _select(self, side: Side) -> Iterator[Any]:
        if side == "tuned":
            yield self._tuned
        elif self._base is not None:
            yield self._base
        elif self.ready.has_base:
            with self._tuned.disable_adapter():
                yield self._tuned
        else:
            raise FtwizardError("The base model is not loaded.", "Start the chat with --base.")

    def _decode(self, tokens: list[int]) -> str:
        text = self._encoder.tokenizer.decode(tokens, skip_special_tokens=True)
        # The last character may still lack some of its bytes.
        return generate.without_thinking(str(text)).removesuffix("\ufffd")

    def _limit_tokens(self, prompt: int, limit: int) -> int:
        """Return the tokens that an answer may have within the model's context."""
        config = self._tuned.config
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        if not context:
            return limit
        if context - prompt < MIN_NEW_TOKENS:
            raise FtwizardError(
                f"The conversation has {format_count(prompt, 'token')}, and the model's context "
                f"is {context:,}.",
                "Start a new conversation.",
            )
        return int(min(limit, context - prompt))


def load(folder: JobFolder, *, base: bool, say: Callable[[str], None]) -> ChatModels:
    """Load the tuned model of a run, and with ``base`` the base model if both fit.

    ``say`` is called with what is being loaded. Raises FtwizardError if the run has no weights, a
    package is missing, or the memory does not suffice.
    """
    trained = read_trained(folder)
    if trained is None:
        raise FtwizardError(
            f"Run {folder.id} has no trained weights yet.",
            f"Wait for its end, or resume it. Its state: ftwizard status {folder.id}",
        )
    plan = plan_file.read_run(folder)
    command.check_installed(plan)
    prepare_environment(plan)
    say("libraries")
    runtime.silence_libraries()
    silence_progress()
    weights, adapter, changed = _find_weights(folder, trained, say)
    precision = runtime.choose_precision(plan.recipe, model_loading.read_config(weights))
    wanted = Path(trained.base) if base and adapter is None and not changed else None
    device, extra, notes = _fit(weights, wanted, precision)
    if changed:
        notes.append(f"{changed} Only the tuned model answers.")
    say("tuned model")
    tokenizer = model_loading.load_tokenizer(adapter or weights)
    encoder = Encoder(tokenizer, model_loading.read_stop_ids(weights) | set(trained.end_ids))
    tuned = _load_model(weights, precision, adapter, device)
    if extra:
        say("base model")
    base_model = _load_model(extra, precision, None, device) if extra else None
    ready = ReadyEvent(
        run=folder.id,
        base_name=plan.model.name,
        step=trained.step,
        device=name_device(device),
        has_base=base and (adapter is not None or extra is not None),
        has_template=encoder.route != "plain",
        system=read_system_prompt(folder),
        busy=[run for run in placement.list_training() if run != folder.id],
        notes=notes,
    )
    return ChatModels(tuned, base_model, encoder, ready)


def _fit(weights: Path, base: Path | None, precision: str) -> tuple[str, Path | None, list[str]]:
    """Return the device, the separate base model if it fits, and what is not as asked for.

    Raises FtwizardError if there is not enough memory for the tuned model.
    """
    notes = []
    if base and not _has_weights(base):
        notes.append(f"The base model is missing: {base} was deleted or moved.")
        base = None
    device = placement.choose_device(weights, base, precision)
    if device is None and base:
        base, device = None, placement.choose_device(weights, None, precision)
        notes.append("The base model does not fit into memory next to the tuned one.")
    if device is None:
        raise placement.make_memory_error(weights, precision)
    return device, base, notes


def read_system_prompt(folder: JobFolder) -> str | None:
    """Return the system prompt of a run's training data, None if it has none."""
    try:
        return dataset.read_test_set(folder).system
    except (OSError, msgspec.MsgspecError):
        return None


def _find_weights(
    folder: JobFolder, trained: TrainResult, say: Callable[[str], None]
) -> tuple[Path, Path | None, str]:
    """Return the folder of the weights to load, that of the adapter on them, if any, and a note.

    The note says that the base model changed since the run; then a merged model is loaded alone.
    Raises FtwizardError if there are no weights, or if they are damaged.
    """
    base, changed = Path(trained.base), ""
    if _has_weights(base):
        try:
            base_weights.require_unchanged(folder, base, say=say)
        except FtwizardError as error:
            if not _has_weights(folder.merged):
                raise
            changed = error.message
    if _has_weights(folder.merged) and (changed or trained.method == "full"):
        return folder.merged, None, changed
    damage = checkpoint_rotation.find_result_damage(folder, trained)
    if damage and _has_weights(folder.merged):
        return folder.merged, None, changed
    if trained.method == "full":
        best = folder.checkpoints / f"checkpoint-{trained.step}"
        if _has_weights(best):
            _refuse_damage(folder, damage)
            return best, None, changed
    elif _has_weights(base) and folder.adapter.is_dir():
        _refuse_damage(folder, damage)
        return base, folder.adapter, changed
    elif _has_weights(folder.merged):
        return folder.merged, None, changed
    missing = folder.merged if folder.adapter.is_dir() else folder.adapter
    raise FtwizardError(
        f"The weights of run {folder.id} are incomplete: there is neither {missing} nor a base "
        f"model in {trained.base}.",
        "Restore one of them, or train again.",
    )


def _refuse_damage(folder: JobFolder, damage: list[str]) -> None:
    if damage:
        listed = ", ".join(make_visible(name, 80) for name in damage[: checkpoints.MAX_NAMED])
        raise FtwizardError(
            f"The weights of run {folder.id} are damaged: {listed}.",
            "Restore them from a copy, or train again.",
        )


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _load_model(weights: Path, precision: str, adapter: Path | None, device: str) -> Any:
    model = model_loading.load_model(weights, precision)
    if adapter:
        with model_loading.importing():
            from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.to(device).eval()


def silence_progress() -> None:
    """Turn off transformers' progress bars: they would cover those of the command."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def prepare_environment(plan: Plan) -> None:
    """Set threads and the visible GPU as for a training, before torch is imported."""
    with contextlib.suppress(FtwizardError):  # it was another machine's GPU: any will do
        variables = command.build_environment(plan)
        os.environ.update({name: variables[name] for name in ENVIRONMENT if name in variables})


def name_device(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name()) if device == "cuda" else "CPU"
