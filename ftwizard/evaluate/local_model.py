"""Answers and losses of local models; arms on the same base share its weights in memory."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from msgspec.structs import replace

from ftwizard.data.conversation import Conversation
from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import batched_generation, placement
from ftwizard.evaluate.answer_cache import AnswerCache, make_key
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.batched_generation import (
    AnswerTimes,
    Finished,
    GenerationRequest,
    Generator,
)
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.prompts import DEFAULT_LIMIT, build_messages
from ftwizard.evaluate.thinking import CLOSING, MAX_THINKING_TOKENS, OPENING, read_thinking
from ftwizard.jobs.folder import hash_file
from ftwizard.plan.schema import Recipe
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.text import format_count, format_duration, make_visible
from ftwizard.train import generate, model_loading, runtime
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError, truncate

MAX_ROWS_CPU = 32
MAX_ROWS_GPU = 128
"""Rows in a batch: more gain little, and cost memory."""
LIMITED_ROWS = 8
"""Smaller batches where time is limited, so that little is in work when it is over."""
MIN_NEW_TOKENS = 16
"""Tokens that must be left for an answer in the model's context."""
CACHE_MEMORY_SHARE = 0.4
"""Share of the free memory that keys and values of a batch may take."""
SIMPLE_BATCH_SIZE = 16
"""Rows that are generated together by models whose cache has more than keys and values."""
_TOKENIZER_FILES = ("tokenizer*", "*.jinja", "special_tokens_map.json", "vocab*", "merges*")


class Loss(NamedTuple):
    """Negative log-likelihood in nats, summed over tokens."""

    total: float
    tokens: int


class SlowItem(NamedTuple):
    """An item that takes far longer than others."""

    item: Item
    seconds: float
    usual_s: float | None
    """Of the others; None: there is none yet."""


class RowLikelihood(NamedTuple):
    """Log-probabilities that a model gives the answers of a row, in nats, and their tokens.

    A pair has two, the chosen one first; a labeled answer has one.
    """

    logps: list[float]
    tokens: list[int]


class LocalModels:
    """The loaded model, with the adapters of the arms on it; one base at a time."""

    def __init__(
        self,
        cache: AnswerCache,
        recipe: Recipe | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``recipe``: that of the run, for its precision; ``say`` is told what is loaded, and of a
        batch that did not fit into memory."""
        self.cache, self.say = cache, say
        self._recipe = recipe or Recipe()
        self._loaded: tuple[str, str] | None = None
        self._model: Any = None
        self._adapters: dict[str, str] = {}

    def choose_precision(self, arm: Arm) -> str:
        """Return the precision that the arm's model computes in."""
        return runtime.choose_precision(self._recipe, model_loading.read_config(Path(arm.model)))

    @contextlib.contextmanager
    def select(self, arm: Arm) -> Iterator[Any]:
        """Yield the model of an arm, loading what is not loaded yet.

        Raises FtwizardError if it cannot be loaded or does not fit into memory.
        """
        self._load_base(arm)
        if arm.adapter is None:
            is_plain = not self._adapters
            with contextlib.nullcontext() if is_plain else self._model.disable_adapter():
                yield self._model
            return
        name = self._load_adapter(arm.adapter)
        self._model.set_adapter(name)
        with _scale(self._model, name, arm.scale):
            yield self._model

    def _load_base(self, arm: Arm) -> None:
        wanted = (arm.model, self.choose_precision(arm))
        if self._loaded == wanted:
            return
        self.unload()
        folder, precision = Path(arm.model), wanted[1]
        runtime.silence_libraries()
        _silence_progress()
        device = placement.choose_device(folder, None, precision)
        if device is None:
            raise placement.make_memory_error(folder, precision)
        self.say(f"model {make_visible(folder.name)}")
        self._model = model_loading.load_model(folder, precision).to(device).eval()
        self._loaded = wanted

    def _load_adapter(self, folder: str) -> str:
        if name := self._adapters.get(folder):
            return name
        with model_loading.importing():
            from peft import PeftModel

        name = f"arm{len(self._adapters)}"
        self.say("adapter")
        try:
            if self._adapters:
                self._model.load_adapter(folder, adapter_name=name)
            else:
                self._model = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
            _check_adapter(self._model, name, Path(folder))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            self.unload()  # parts of it may be on the model
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            # The first line of torch's error has no reason.
            reason = next((line for line in lines if "mismatch" in line), (lines or [""])[0])
            raise FtwizardError(
                f"The adapter {make_visible(folder)} does not fit the base model: "
                f"{make_visible(reason or type(error).__name__, 200)}",
                "Use the base model that it was trained on.",
            ) from error
        self._model.eval()
        self._adapters[folder] = name
        return name

    def unload(self) -> None:
        """Free the memory of the loaded model."""
        if self._model is None:
            return
        self._model, self._loaded, self._adapters = None, None, {}
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _check_adapter(model: Any, name: str, folder: Path) -> None:
    """Raise ValueError if the model has adapter weights that are not in the file, or lacks some.

    PEFT only warns, and answers would be those of the base model.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    file = folder / "adapter_model.safetensors"
    if not file.exists():
        return
    with safe_open(file, "pt") as tensors:
        saved = {key for key in tensors.keys() if "lora_" in key}  # noqa: SIM118
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    expected = {key for key in state if "lora_" in key}
    if missing := sorted(expected - saved):
        raise ValueError(f"it lacks {missing[0]}")
    if unknown := sorted(saved - expected):
        raise ValueError(f"the model has no {unknown[0]}")


@contextlib.contextmanager
def _scale(model: Any, adapter: str, factor: float) -> Iterator[None]:
    """Multiply an adapter's update by ``factor``; whole modules that it replaces stay as they are."""
    if factor == 1.0:
        yield
        return
    layers = [
        module.scaling
        for module in model.modules()
        if isinstance(getattr(module, "scaling", None), dict) and adapter in module.scaling
    ]
    before = [scaling[adapter] for scaling in layers]
    try:
        for scaling in layers:
            scaling[adapter] *= factor
        yield
    finally:
        for scaling, value in zip(layers, before, strict=True):
            scaling[adapter] = value


def _silence_progress() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


class LocalAnswerer:
    """Answers of one arm by a model of this machine."""

    def __init__(self, arm: Arm, models: LocalModels) -> None:
        """Load the tokenizer; the weights are loaded when something has to be answered.

        Raises FtwizardError if the folder is not a model or adapter that can be used.
        """
        self.arm, self._models = arm, models
        self._times = AnswerTimes()
        self._asked: Sequence[Item] = ()
        model, adapter = Path(arm.model), Path(arm.adapter) if arm.adapter else None
        tokenizer = Path(arm.tokenizer) if arm.tokenizer else adapter or model
        self.precision = models.choose_precision(arm)
        self.encoder = Encoder(
            model_loading.load_tokenizer(tokenizer), model_loading.read_stop_ids(model)
        )
        _learn_end(self.encoder)
        self.thinking = read_thinking(self.encoder)
        config = model_loading.load_config(model).get_text_config()
        self._context: int | None = getattr(config, "max_position_embeddings", None)
        files = sorted({path for name in _TOKENIZER_FILES for path in tokenizer.glob(name)})
        self.identity = make_key(
            models.cache.hash_weights(model),
            models.cache.hash_weights(adapter) if adapter else None,
            arm.scale if adapter else 1.0,
            self.precision,
            sorted(self._stops),
            [(path.name, hash_file(path)) for path in files],
        )

    @property
    def _stops(self) -> set[int]:
        return self.encoder.end_ids | self.encoder.stop_ids

    @property
    def slow(self) -> SlowItem | None:
        """Return the item that takes far longer than others; None without one."""
        slow = self._times.slow
        return slow and SlowItem(self._asked[slow.key], slow.seconds, slow.usual_s)

    def count_tokens(self, text: str) -> int:
        """Return the tokens of a text."""
        return len(self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"])

    def key(self, item: Item) -> str:
        """Return a hash of all that the answer depends on."""
        expected = item.expected[:1] if item.has_loss else []
        try:
            prompt = self._encode_prompt(item)
        except EncodingError as problem:
            return make_key(self.identity, item, problem.message)
        return make_key(self.identity, prompt, self._get_limit(item), expected)

    def answer(
        self,
        items: Sequence[Item],
        on_answer: Callable[[Item, ItemAnswer], None],
        on_work: Callable[[float], None] = lambda items: None,
        may_start: Callable[[], bool] | None = None,
    ) -> None:
        """Answer ``items`` greedily; see Answerer."""
        requests, self._asked = [], items
        for index, item in enumerate(items):
            if item.max_tokens == 0:
                on_answer(item, ItemAnswer(item=item.id, text=""))
                continue
            try:
                requests.append(self._make_request(index, item))
            except EncodingError as problem:
                score = ItemScore(note=problem.message)
                on_answer(item, ItemAnswer(item=item.id, text="", ended=False, score=score))
        if not requests:
            return
        with self._models.select(self.arm) as model:

            def finish(answer: Finished) -> None:
                item = items[answer.key]
                on_answer(item, self._to_answer(model, item, answer))

            if batched_generation.supports(model):
                self._generate(model, requests, finish, on_work, may_start)
            else:
                self._generate_simply(model, requests, finish, on_work, may_start)

    def _generate(
        self, model: Any, requests: list[GenerationRequest], finish: Callable[[Finished], None],
        on_work: Callable[[float], None], may_start: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        pad = self.encoder.tokenizer.pad_token_id
        for index, part in enumerate(batched_generation.set_long_apart(requests)):
            if may_start and index and not may_start():
                return
            Generator(
                model,
                self._stops,
                pad if pad is not None else min(self._stops),
                max_rows=LIMITED_ROWS if may_start else choose_rows(model, part),
                on_done=finish,
                on_work=on_work,
                may_start=may_start,
                say=self._models.say,
                times=self._times,
            ).run(part)

    def _generate_simply(
        self, model: Any, requests: list[GenerationRequest], finish: Callable[[Finished], None],
        on_work: Callable[[float], None], may_start: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        """Answer in batches that end together."""
        if may_start is None:
            requests = sorted(requests, key=lambda row: (row.limit, len(row.prompt)))
        for start in range(0, len(requests), SIMPLE_BATCH_SIZE):
            if may_start and start and not may_start():
                return
            rows = requests[start : start + SIMPLE_BATCH_SIZE]
            limit = max(row.limit for row in rows)

            began, elapsed = self._times.read(), 0.0

            def report(tokens: list[int], limit: int = limit, count: int = len(rows)) -> bool:
                nonlocal elapsed
                elapsed = self._times.read() - began  # noqa: B023 (called within this round)
                self._times.record_step(elapsed / max(1, len(tokens)))
                on_work(count * len(tokens) / limit)
                return self._times.is_late(elapsed, limit)

            answers = generate.generate_tokens(
                model, self.encoder, [row.prompt for row in rows], limit, should_stop=report
            )
            for row, tokens in zip(rows, answers, strict=True):
                answer = _cut(row, tokens, self._stops)
                is_late = not answer.ended and len(answer.tokens) < row.limit
                finish(answer._replace(late_s=elapsed) if is_late else answer)

    def _to_answer(self, model: Any, item: Item, answer: Finished) -> ItemAnswer:
        if answer.late_s is not None:
            return make_late(item, f"It did not end within {format_duration(answer.late_s)}")
        text = self.encoder.tokenizer.decode(answer.tokens, skip_special_tokens=True)
        if self.thinking.is_open and (CLOSING in text or not answer.ended):
            text = f"{OPENING}{text}"  # which the prompt has
        loss = None
        if item.has_loss:
            loss = self._compute_loss(model, item)
        return ItemAnswer(
            item=item.id,
            text=generate.without_thinking(str(text)),
            ended=answer.ended,
            tokens=len(answer.tokens),
            loss=loss.total / loss.tokens if loss else None,
            loss_tokens=loss.tokens if loss else 0,
        )

    def _messages(self, item: Item) -> list[dict[str, Any]]:
        """Return the prompt's messages, for a model without a template as one text."""
        messages = build_messages(self.arm, item)
        if self.encoder.route != "plain":
            return messages
        text = "\n\n".join(str(message.get("content") or "") for message in messages)
        return [{"role": "user", "content": text}]

    def _encode_prompt(self, item: Item) -> list[int]:
        return self.encoder.prompt_ids(self._messages(item), item.tools, **self.thinking.options)

    def _get_limit(self, item: Item) -> int | None:
        if item.max_tokens and self.thinking.mode == "on":
            return item.max_tokens + MAX_THINKING_TOKENS
        return item.max_tokens

    def _make_request(self, key: int, item: Item) -> GenerationRequest:
        """Return the request for an item, with a limit that fits into the model's context.

        Raises EncodingError if the prompt does not fit, or the template rejects it.
        """
        prompt, limit = self._encode_prompt(item), self._get_limit(item) or DEFAULT_LIMIT
        if context := self._context:
            if context - len(prompt) < MIN_NEW_TOKENS:
                count = format_count(len(prompt), "token")
                at = f" at line {item.line}" if item.line else ""
                raise EncodingError(
                    f"The prompt{at} has {count}; the model takes {context:,}, with the answer.", ""
                )
            limit = min(limit, context - len(prompt))
        return GenerationRequest(key, prompt, limit, item.set)

    def _compute_loss(self, model: Any, item: Item) -> Loss | None:
        """Return the loss of the first expected answer; None if the template cannot encode it."""
        messages = [{**message, "weight": 0} for message in self._messages(item)]
        messages.append({"role": "assistant", "content": item.expected[0]})
        try:
            row = self.encoder.encode(Conversation(messages=messages, tools=item.tools), 0)
        except EncodingError:
            return None
        return self._sum_loss(model, row)

    def compute_text_losses(
        self, texts: Sequence[str], on_work: Callable[[float], None] = lambda texts: None
    ) -> list[Loss]:
        """Return the loss of each plain text, over all its tokens but the first.

        Longer ones are cut at the model's context.
        """
        losses = list[Loss]()
        if not texts:
            return losses
        with self._models.select(self.arm) as model:
            for index, text in enumerate(texts):
                on_work(index)
                ids = [int(i) for i in self.encoder.tokenizer(text)["input_ids"]][: self._context]
                labels = [IGNORE_INDEX, *ids[1:]]
                row = EncodedRow(line=0, input_ids=ids, labels=labels)
                losses.append(self._sum_loss(model, row) or Loss(0.0, 0))
        return losses

    def compute_row_likelihoods(
        self,
        rows: Sequence[ParsedRow],
        max_length: int,
        on_work: Callable[[int], None],
        may_start: Callable[[], bool] = lambda: True,
    ) -> list[RowLikelihood | None]:
        """Return the likelihood of the answers of each row, of a pair or of a labeled answer.

        None for a row that cannot be encoded, whose answers are cut off or equal. It is read as in
        training, after the arm's prompt if it has one. The result ends before the first row that
        ``may_start`` refuses.
        """
        results = list[RowLikelihood | None]()
        with self._models.select(self.arm) as model:
            for index, row in enumerate(rows):
                if not may_start():
                    break
                on_work(index)
                encoded = self._encode_answers(row, max_length)
                sides = encoded.sequences if encoded else ()
                losses = [loss for side in sides if (loss := self._sum_loss(model, side))]
                if not losses or len(losses) < len(sides):
                    results.append(None)
                    continue
                logps = [-loss.total for loss in losses]
                results.append(RowLikelihood(logps, [loss.tokens for loss in losses]))
        return results

    def _encode_answers(self, row: ParsedRow, max_length: int) -> EncodedRow | None:
        """Return a row as training reads it, after the arm's prompt; None if it cannot be used."""
        try:
            encoded = self.encoder.encode_row(row)
            if self.arm.system or self.arm.shots:
                item = Item(id="", set="", messages=row.example.messages, scorer="prefers")
                example = replace(row.example, messages=build_messages(self.arm, item))
                prompted = self.encoder.encode_row(replace(row, example=example))
                max_length += len(prompted.input_ids) - len(encoded.input_ids)
                encoded = prompted
        except EncodingError:
            return None
        cut = truncate(encoded, max_length)
        return None if cut is None or cut.is_equal_pair else cut

    def _sum_loss(self, model: Any, row: EncodedRow) -> Loss | None:
        """Return the loss over a row's labels; logits are computed only where one is needed.

        With a vocabulary of 150,000, the logits of a batch take gigabytes.
        """
        import torch

        context = self._context or len(row.input_ids)
        ids = torch.tensor([row.input_ids[:context]], device=model.device)
        labels = torch.tensor(row.labels[1:context], device=model.device)
        positions = (labels != IGNORE_INDEX).nonzero().flatten()
        if not len(positions):
            return None
        with torch.inference_mode():
            if batched_generation.takes(model, "logits_to_keep"):
                logits = model(input_ids=ids, logits_to_keep=positions).logits[0].float()
            else:
                logits = model(input_ids=ids).logits[0, positions].float()
            total = torch.nn.functional.cross_entropy(logits, labels[positions], reduction="sum")
        return Loss(float(total), len(positions))


def make_late(item: Item, reason: str) -> ItemAnswer:
    """Return the answer to an item that took too long: none, which is not scored."""
    score = ItemScore(note=f"{reason}: there is no answer.")
    return ItemAnswer(item=item.id, text="", ended=False, is_late=True, score=score)


def _cut(row: GenerationRequest, tokens: list[int], stops: set[int]) -> Finished:
    """Return the answer up to the token that ended it, or to the row's own limit."""
    end = next((index for index, token in enumerate(tokens) if token in stops), None)
    if end is None or end > row.limit:
        return Finished(row.key, tokens[: row.limit], False)
    return Finished(row.key, tokens[:end], True)


def _learn_end(encoder: Encoder) -> None:
    """Let the encoder see which tokens end an answer in its template."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with contextlib.suppress(EncodingError):
        encoder.encode(Conversation(messages=messages), 0)


def choose_rows(model: Any, requests: Sequence[GenerationRequest]) -> int:
    """Return the rows of a batch whose keys and values fit into the free memory."""
    import torch

    width = max(len(row.prompt) + row.limit for row in requests)
    on_gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    most = MAX_ROWS_GPU if on_gpu else MAX_ROWS_CPU
    return int(max(1, min(most, free * CACHE_MEMORY_SHARE // (2 * per_token * width))))
