"""Tokenization and loss masks, shared by the training and everything that displays them.

The loss covers the answers and the token that ends each, and nothing else. There are three routes:
a chat template with generation markers (the tokenizer's own, or TRL's training template); for other
templates that only append, the rendered prefixes of the conversation; and for a model without a chat
template, one prompt and one answer as plain text. Every row's mask is verified on its tokens before
the first step. Plain text and token rows are trained on as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.conversation import Conversation, to_labeled, to_pair, without_reasoning
from ftwizard.data.example import (
    IGNORE_INDEX,
    REASONING_KEYS,
    Message,
)
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.estimate.report import PartReport
from ftwizard.models.loss_mask import MaskRoute
from ftwizard.text import format_count, make_visible
from ftwizard.train import model_loading, raw_rows, runtime
from ftwizard.train.mask_check import MaskError, TokenRange, assistant_messages, verify_mask

MAX_ADDITIONS = 5
_MARK = "zqmarkx"
"""A text that no template contains, and that no template changes."""


class EncodedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tokenized row with its labels."""

    line: int
    input_ids: list[int]
    labels: list[int]
    """The same length; ``IGNORE_INDEX`` for tokens that do not count toward the loss."""
    rejected: EncodedRow | None = None
    """The same prompt with the rejected answer, if the row is a pair; it is then the chosen one."""
    label: bool | None = None
    """Whether the answer of a labeled row is wanted."""

    @property
    def sequences(self) -> tuple[EncodedRow, ...]:
        """Return the sequences that the model reads: two of a pair."""
        return (self, self.rejected) if self.rejected else (self,)

    @property
    def longest(self) -> int:
        """Return the tokens of the longest sequence."""
        return max(len(row.input_ids) for row in self.sequences)

    @property
    def tokens(self) -> int:
        """Return the tokens of all sequences."""
        return sum(len(row.input_ids) for row in self.sequences)

    @property
    def trained(self) -> int:
        """Return the number of trainable tokens."""
        return sum(self.answer_lengths)

    @property
    def answer_lengths(self) -> tuple[int, ...]:
        """Return the trainable tokens of each sequence."""
        return tuple(sum(label != IGNORE_INDEX for label in row.labels) for row in self.sequences)

    @property
    def is_equal_pair(self) -> bool:
        """Return whether it is a pair whose answers have the same tokens: neither is better."""
        return self.rejected is not None and self.rejected.input_ids == self.input_ids


class EncodingReport(PartReport, frozen=True, kw_only=True):
    """Counts of one part's rows after encoding, and how they were encoded."""

    route: MaskRoute
    trainable_text: list[str] = msgspec.field(name="added")
    """Template text that counts toward the loss besides answer and end of turn."""


class EncodingError(FtwizardError):
    """A row that cannot be encoded with a correct loss mask."""

    def __init__(self, message: str, hint: str, *, reason: str = "") -> None:
        """Create the error; ``reason`` is the cause without the line."""
        super().__init__(message, hint)
        self.reason = reason


class Encoder:
    """Encodes rows with one tokenizer, as plain lists of token IDs."""

    def __init__(self, tokenizer: Any, stop_ids: set[int]) -> None:
        """Choose the route; ``stop_ids`` are the tokens that end the model's generation.

        Raises EncodingError if the tokenizer has neither a chat template nor an end-of-text token.
        """
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.special_ids = stop_ids | {int(i) for i in tokenizer.all_special_ids}
        self.route, self._template = _choose_route(tokenizer)
        self.reasoning_keys = self._find_reasoning_keys()
        """Of ``REASONING_KEYS``, those that the template reads."""
        self.added: set[str] = set()
        self.end_ids: set[int] = set()
        """Tokens that ended answers so far."""

    def route_of(self, rows: list[ParsedRow]) -> MaskRoute:
        """Return the route for ``rows``, which are all of one kind."""
        kind = rows[0].example.kind if rows else None
        return kind if kind in ("text", "tokens") else self.route

    def encode_row(self, row: ParsedRow) -> EncodedRow:
        """Return the encoded row; raise EncodingError with the line."""
        example = row.example
        try:
            if example.kind == "text":
                ids = raw_rows.encode_text(self.tokenizer, example.text or "")
                self.end_ids.add(ids[-1])
                labels = [IGNORE_INDEX, *ids[1:]]
            elif example.kind == "tokens":
                ids, labels = raw_rows.encode_tokens(self.tokenizer, example)
            elif example.kind == "preference":
                chosen, rejected = (self.encode(side, row.line) for side in to_pair(example))
                return msgspec.structs.replace(chosen, rejected=rejected)
            elif example.kind == "labelled":
                answer = self.encode(to_labeled(example), row.line)
                return msgspec.structs.replace(answer, label=example.label)
            else:
                return self.encode(row.conversation, row.line)
        except MaskError as problem:
            hint = "Tokenize it again for this model, or delete the row."
            raise EncodingError(f"Line {row.line}: {problem}.", hint, reason=str(problem)) from None
        return EncodedRow(line=row.line, input_ids=ids, labels=labels)

    def encode(self, conversation: Conversation, line: int) -> EncodedRow:
        """Return the encoded row with a verified mask; raise EncodingError with the line."""
        messages, tools = conversation.messages, conversation.tools
        try:
            if self.route == "plain":
                ids, spans = _encode_pair(self.tokenizer, messages, tools)
            elif self.route == "prefixes":
                ids, spans = self._encode_answers(messages, tools)
            else:
                ids, spans = self._encode_by_markers(messages, tools)
            check = verify_mask(self.tokenizer, self.special_ids, messages, ids, spans)
        except MaskError as problem:
            hint = (
                "Choose its instruct variant, or use rows with one prompt and one answer."
                if self.route == "plain"
                else "This model's chat template cannot encode this row. Choose another model, or "
                "delete the row."
            )
            raise EncodingError(f"Line {line}: {problem}.", hint, reason=str(problem)) from None
        self.end_ids |= check.end_ids
        if len(self.added) < MAX_ADDITIONS and self.route != "plain":
            self.added |= check.added
        labels = [IGNORE_INDEX] * len(ids)
        for message, (start, end) in zip(assistant_messages(messages), spans, strict=True):
            if message.get("weight", 1):
                labels[start:end] = ids[start:end]
        return EncodedRow(line=line, input_ids=ids, labels=labels)

    def prompt_ids(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, **options: Any
    ) -> list[int]:
        """Return a prompt's tokens, rendered with the tokenizer's own template and its ``options``."""
        if self.route == "plain":
            return _prompt_ids(self.tokenizer, messages)
        text = self.render_prompt(messages, tools, **options)
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def render_prompt(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> str:
        """Return a prompt as text; raise EncodingError if the template rejects it."""
        try:
            return self._render(messages, tools, add_generation_prompt=True, **options)
        except MaskError as problem:
            raise EncodingError(f"Prompt: {problem}.", "Choose another model.") from None

    def _apply_template(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, **options: Any
    ) -> Any:
        """Apply a chat template to messages without their ``weight``, which templates do not know."""
        from jinja2.exceptions import TemplateError

        unweighted = [
            {key: value for key, value in message.items() if key != "weight"}
            for message in map(self._name_reasoning, messages)
        ]
        try:
            return self.tokenizer.apply_chat_template(unweighted, tools=tools, **options)
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise MaskError(
                f"the chat template rejects it: {make_visible(str(error), 200)}"
            ) from None

    def _find_reasoning_keys(self) -> tuple[str, ...]:
        """Return the keys of an answer's reasoning that are in a rendered conversation."""
        self.reasoning_keys = REASONING_KEYS
        if self.route == "plain":
            return ()
        answers = {key: {"role": "assistant", "content": "B", key: _MARK} for key in REASONING_KEYS}
        return tuple(key for key, answer in answers.items() if self._shows_mark(answer))

    def _shows_mark(self, answer: Message) -> bool:
        try:
            return _MARK in self.render_trained([{"role": "user", "content": "A"}, answer], None)
        except MaskError:
            return False

    def _name_reasoning(self, message: Message) -> Message:
        """Return a message whose reasoning has the name that the template reads."""
        keys = [key for key in REASONING_KEYS if key in message]
        if not keys or not self.reasoning_keys or keys[0] in self.reasoning_keys:
            return message
        rest = {key: value for key, value in message.items() if key not in REASONING_KEYS}
        return {**rest, self.reasoning_keys[0]: message[keys[0]]}

    def render_trained(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        """Return a conversation as the text that is trained on; raise MaskError."""
        options = {"chat_template": self._template} if self._template else {}
        return self._render(messages, tools, **options)

    def _render(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, **options: Any
    ) -> str:
        return str(self._apply_template(messages, tools, tokenize=False, **options))

    def _encode_by_markers(
        self, messages: list[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[TokenRange]]:
        output = self._apply_template(
            messages,
            tools,
            chat_template=self._template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids = [int(i) for i in output["input_ids"]]
        return ids, _find_ranges(output["assistant_masks"])

    def _encode_by_prefixes(
        self, messages: list[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[TokenRange]]:
        """Locate each answer between the rendered prefixes before and after it."""
        whole = self._render(messages, tools)
        char_ranges: list[tuple[int, int]] = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render_before(messages[:index], tools)
            after = self._render(messages[: index + 1], tools)
            if not (whole.startswith(before) and whole.startswith(after)):
                raise MaskError(
                    f"the chat template changes earlier turns (message {index + 1}), so its "
                    "answers cannot be located"
                )
            char_ranges.append((len(before), len(after)))
        output = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids = [int(i) for i in output["input_ids"]]
        offsets = output["offset_mapping"]
        spans: list[TokenRange] = []
        token = 0
        for start, end in char_ranges:
            while token < len(ids) and offsets[token][1] <= start:
                token += 1
            first = token
            while token < len(ids) and offsets[token][0] < end:
                token += 1
            spans.append((first, token))
        return ids, self._trim_after_end(ids, spans)

    def _render_before(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        """Render what comes before an answer; a template refuses to render no messages at all."""
        if messages:
            return self._render(messages, tools, add_generation_prompt=True)
        return self._render([{"role": "assistant", "content": _MARK}], tools).partition(_MARK)[0]

    def _encode_answers(
        self, messages: list[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[TokenRange]]:
        """Encode by prefixes; without earlier reasoning if the template leaves that out later."""
        try:
            return self._encode_by_prefixes(messages, tools)
        except MaskError:
            roles = [message["role"] for message in messages]
            last = max((n for n, role in enumerate(roles) if role == "user"), default=0)
            earlier = without_reasoning(messages[:last])
            if earlier == messages[:last]:
                raise
            return self._encode_by_prefixes([*earlier, *messages[last:]], tools)

    def _trim_after_end(self, ids: list[int], spans: list[TokenRange]) -> list[TokenRange]:
        """Exclude what follows the end-of-turn token (usually a line break)."""
        trimmed = []
        for start, end in spans:
            ends = (last for last in range(end, start, -1) if ids[last - 1] in self.special_ids)
            trimmed.append((start, next(ends, end)))
        return trimmed


def load_encoder(base: Path, say: Callable[..., None]) -> Encoder:
    """Return a model's encoder from a folder with tokenizer, template and configuration.

    ``say`` is called with the phase. Raises FtwizardError for a model that cannot be trained.
    """
    say("loading", what="libraries")
    runtime.silence_libraries()
    model_loading.load_config(base)
    return Encoder(model_loading.load_tokenizer(base), model_loading.read_stop_ids(base))


def encode_rows(
    encoder: Encoder,
    rows: list[ParsedRow],
    max_length: int,
    progress: Any = lambda done, total: None,
    *,
    needed: bool = True,
) -> tuple[list[EncodedRow], EncodingReport]:
    """Encode rows, verify their masks and truncate them to ``max_length`` tokens.

    Rows with no trainable tokens and equal pairs are reported, not returned; TRL would drop the first
    silently. Raises EncodingError if rows cannot be masked, with the first and their number, FtwizardError (declined)
    if no rows remain and they are ``needed``.
    """
    whole: list[EncodedRow] = []
    refused: list[EncodingError] = []
    for number, row in enumerate(rows, 1):
        try:
            whole.append(encoder.encode_row(row))
        except EncodingError as error:
            refused.append(error)
        progress(number, len(rows))
    if refused:
        raise _refused_error(refused, len(rows))
    lengths = [row.longest for row in whole]
    truncated = [truncate(row, max_length) for row in whole]
    kept = [row for row in truncated if row and not row.is_equal_pair]
    report = EncodingReport(
        route=encoder.route_of(rows),
        rows=len(rows),
        used=len(kept),
        truncated=sum(length > max_length for length in lengths),
        lines_without_loss=[row.line for row, cut in zip(whole, truncated, strict=True) if not cut],
        tokens=sum(row.tokens for row in kept),
        trainable_tokens=sum(row.trained for row in kept),
        longest_row=max(lengths, default=0),
        trainable_text=sorted(encoder.added),
        equal_pairs=[row.line for row in truncated if row and row.is_equal_pair],
    )
    if rows and not kept and needed:
        raise _no_rows_error(report, max_length)
    return kept, report


def truncate(row: EncodedRow, max_length: int) -> EncodedRow | None:
    """Return the row's first ``max_length`` tokens, None if none of them is trainable.

    The first token is never predicted, so its label does not count. Of a pair, both answers need a
    trainable token.
    """
    if row.rejected:
        rejected = truncate(row.rejected, max_length)
        if rejected is None:
            return None
        row = msgspec.structs.replace(row, rejected=rejected)
    if len(row.input_ids) > max_length:
        row = msgspec.structs.replace(
            row, input_ids=row.input_ids[:max_length], labels=row.labels[:max_length]
        )
    return None if all(label == IGNORE_INDEX for label in row.labels[1:]) else row


def _refused_error(refused: list[EncodingError], rows: int) -> EncodingError:
    """Return the error of rows that cannot be encoded: the first, and how many there are."""
    first = refused[0]
    if len(refused) == 1:
        return first
    count = f"{len(refused):,} of {format_count(rows, 'row')} cannot be used with this model."
    hint = f"{first.hint} ftwizard mask lists them."
    return EncodingError(f"{first.message} {count}", hint, reason=first.reason)


def _no_rows_error(report: EncodingReport, max_length: int) -> FtwizardError:
    if report.equal_pairs:
        return FtwizardError(
            f"None of {format_count(report.rows, 'pair')} can be trained on: "
            f"{len(report.equal_pairs):,} have equal answers, the first at line "
            f"{report.equal_pairs[0]}.",
            f"Raise recipe.max_length (now {max_length}), or write pairs whose answers differ.",
            DECLINED,
        )
    start = f"None of {format_count(report.rows, 'row')} has trainable tokens:"
    if not report.truncated:
        return FtwizardError(
            f"{start} every answer has weight 0.", "Set the weight of answers to 1.", DECLINED
        )
    return FtwizardError(
        f"{start} recipe.max_length {max_length} cuts off every answer (the longest row has "
        f"{report.longest_row:,} tokens).",
        "Raise recipe.max_length.",
        DECLINED,
    )


def _encode_pair(
    tokenizer: Any, messages: list[Message], tools: list[dict[str, Any]] | None
) -> tuple[list[int], list[TokenRange]]:
    """Return a row's tokens and the range of its answer with the end of text.

    Nothing is inserted between prompt and answer. They are tokenized separately, so no token spans
    both, and generation later starts after exactly the tokens that were trained on. Raises
    MaskError for a row that is not one prompt and one answer.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] or tools or messages[1].get("tool_calls"):
        raise MaskError(
            "the model has no chat template, and this row is not one prompt and one answer "
            f"({', '.join(roles)}{', with tools' if tools else ''})"
        )
    prompt = _prompt_ids(tokenizer, messages[:1])
    answer = tokenizer(messages[1]["content"], add_special_tokens=False)["input_ids"]
    ids = [*prompt, *(int(i) for i in answer), int(tokenizer.eos_token_id)]
    return ids, [(len(prompt), len(ids))]


def _prompt_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Return the prompt's tokens with the tokenizer's prefix, but without an end of text."""
    ids = [int(i) for i in tokenizer(messages[0]["content"])["input_ids"]]
    return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids


def _find_ranges(mask: list[int]) -> list[TokenRange]:
    """Return the ranges of ones."""
    edges = [i for i, (before, after) in enumerate(pairwise([0, *mask, 0])) if before != after]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _choose_route(tokenizer: Any) -> tuple[MaskRoute, str | None]:
    with model_loading.importing():
        from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if not tokenizer.chat_template:
        if tokenizer.eos_token_id is None:
            raise EncodingError(
                "The model has neither a chat template nor an end-of-text token, so it would never "
                "learn to stop.",
                "Choose its instruct variant.",
            )
        return "plain", None
    try:
        template = get_training_chat_template(tokenizer)
    except Exception:  # noqa: BLE001 (TRL does not support it, or its test rendering fails)
        return "prefixes", None
    if template is not None:
        return "training-template", template
    if has_generation_markers(tokenizer.chat_template):
        return "template", None
    return "prefixes", None
