"""Which tokens are trained on: one function for what is shown and for what is trained.

Loss belongs on the answers and the token that ends each, and nowhere else. Three ways lead there:
a chat template with generation marks (the tokenizer's own, or TRL's training template for it); for
every other template that only ever appends, the rendered prefixes of the conversation; and for a
model without a chat template, a row of one prompt and one answer as plain text. Whichever it is,
the outcome is proved on the tokens of every row before the first step. Plain text and tokens are
trained on as they are given.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ftwizard.data.conversation import Conversation, Message
from ftwizard.data.read import Row
from ftwizard.data.row_tokens import IGNORED
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.text import plural, visible
from ftwizard.train import as_given, plain_text
from ftwizard.train.proof import Span, Unfit, answers, prove

SHOWN_ADDITIONS = 5
Route = Literal["template", "training-template", "prefixes", "plain", "text", "tokens"]


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it is trained."""

    line: int
    input_ids: list[int]
    labels: list[int]
    """Same length; ``IGNORED`` where there is no loss."""

    @property
    def trained(self) -> int:
        """Return how many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows of one part."""

    route: Route
    rows: int
    """Rows given."""
    kept: int
    """Rows that are trained on."""
    cut: int
    """Rows longer than ``max_length``, cut at their end."""
    lost: list[int]
    """Lines of rows that no trained token is left of; they are not trained on."""
    tokens: int
    trained: int
    """Tokens that carry loss."""
    longest: int
    """Tokens of the longest row before cutting."""
    added: list[str]
    """What the template itself puts into the loss besides answer and end of turn."""


class MaskError(FtwizardError):
    """The loss would not lie where it belongs."""

    def __init__(self, message: str, hint: str, *, reason: str = "") -> None:
        """``reason``: why, without the line."""
        super().__init__(message, hint)
        self.reason = reason


class Encoder:
    """Encodes conversations for one tokenizer; shapes are plain lists of token ids."""

    def __init__(self, tokenizer: Any, stop_ids: set[int]) -> None:
        """Choose the way. ``stop_ids`` are the tokens at which the model's generation ends.

        Raises MaskError when the tokenizer has neither a chat template nor an end-of-text token.
        """
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self._special_ids = stop_ids | {int(i) for i in tokenizer.all_special_ids}
        self.route, self._template = _choose(tokenizer)
        self.added: set[str] = set()
        self.end_ids: set[int] = set()
        """Tokens that were seen to end answers."""

    def route_of(self, rows: list[Row]) -> Route:
        """Return which way the mask of ``rows``, all of one kind, is made."""
        kind = rows[0].example.kind if rows else None
        return kind if kind in ("text", "tokens") else self.route

    def encode_row(self, row: Row) -> Encoded:
        """Return a row's tokens and labels; raise MaskError with the line."""
        example = row.example
        try:
            if example.kind == "text":
                ids = as_given.text(self.tokenizer, example.text or "")
                self.end_ids.add(ids[-1])
                return Encoded(line=row.line, input_ids=ids, labels=[IGNORED, *ids[1:]])
            if example.kind == "tokens":
                ids, labels = as_given.tokens(self.tokenizer, example)
                return Encoded(line=row.line, input_ids=ids, labels=labels)
        except Unfit as problem:
            hint = "Make it anew for this model, or delete the row."
            raise MaskError(f"Line {row.line}: {problem}.", hint, reason=str(problem)) from None
        return self.encode(row.conversation, row.line)

    def encode(self, conversation: Conversation, line: int) -> Encoded:
        """Return the row's tokens and labels, proved; raise MaskError with the line."""
        messages, tools = conversation.messages, conversation.tools
        try:
            if self.route == "plain":
                ids, spans = plain_text.encode(self.tokenizer, messages, tools)
            elif self.route == "prefixes":
                ids, spans = self._by_prefixes(messages, tools)
            else:
                ids, spans = self._by_marks(messages, tools)
            spans = self._end_at_end_of_turn(ids, spans)
            found = prove(self.tokenizer, self._special_ids, messages, ids, spans)
        except Unfit as problem:
            raise MaskError(
                f"Line {line}: {problem}.",
                "Choose its instruct variant, or give rows of one prompt and one answer."
                if self.route == "plain"
                else "The chat template of this model cannot carry this row; choose another model, "
                "or delete the row.",
                reason=str(problem),
            ) from None
        self.end_ids |= found.end_ids
        if len(self.added) < SHOWN_ADDITIONS and self.route != "plain":
            self.added |= found.added
        labels = [IGNORED] * len(ids)
        for message, (start, end) in zip(answers(messages), spans, strict=True):
            if message.get("weight", 1):
                labels[start:end] = ids[start:end]
        return Encoded(line=line, input_ids=ids, labels=labels)

    def prompt_ids(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> list[int]:
        """Return the tokens after which the model answers (the tokenizer's own template)."""
        if self.route == "plain":
            return plain_text.prompt_ids(self.tokenizer, messages)
        try:
            text = self._render(messages, tools, add_generation_prompt=True)
        except Unfit as problem:
            raise MaskError(f"A held-out row: {problem}.", "Choose another model.") from None
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _render(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, **more: Any
    ) -> str:
        from jinja2.exceptions import TemplateError

        plain = [{k: v for k, v in m.items() if k != "weight"} for m in messages]
        try:
            text = self.tokenizer.apply_chat_template(plain, tools=tools, tokenize=False, **more)
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise Unfit(f"the chat template refuses it: {visible(str(error), 200)}") from None
        return str(text)

    def _by_marks(
        self, messages: list[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[Span]]:
        from jinja2.exceptions import TemplateError

        plain = [{k: v for k, v in m.items() if k != "weight"} for m in messages]
        try:
            out = self.tokenizer.apply_chat_template(
                plain,
                tools=tools,
                chat_template=self._template,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise Unfit(f"the chat template refuses it: {visible(str(error), 200)}") from None
        ids = [int(i) for i in out["input_ids"]]
        return ids, _runs(out["assistant_masks"])

    def _by_prefixes(
        self, messages: list[Message], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[Span]]:
        """Find each answer between the text before it and the text up to it."""
        whole = self._render(messages, tools)
        places: list[Span] = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:index], tools, add_generation_prompt=True)
            upto = self._render(messages[: index + 1], tools)
            if not (whole.startswith(before) and whole.startswith(upto)):
                raise Unfit(
                    f"the chat template changes earlier turns (message {index + 1}), so its "
                    "answers cannot be told apart"
                )
            places.append((len(before), len(upto)))
        out = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids = [int(i) for i in out["input_ids"]]
        offsets = out["offset_mapping"]
        spans: list[Span] = []
        token = 0
        for start, end in places:
            while token < len(ids) and offsets[token][1] <= start:
                token += 1
            first = token
            while token < len(ids) and offsets[token][0] < end:
                token += 1
            spans.append((first, token))
        return ids, spans

    def _end_at_end_of_turn(self, ids: list[int], spans: list[Span]) -> list[Span]:
        """With prefixes, leave out what follows the end-of-turn token (a line break, mostly)."""
        if self.route != "prefixes":
            return spans
        ended = []
        for start, end in spans:
            last = end
            while last > start and ids[last - 1] not in self._special_ids:
                last -= 1
            ended.append((start, last if last > start else end))
        return ended


def encode_rows(
    encoder: Encoder,
    rows: list[Row],
    max_length: int,
    progress: Any = lambda done, total: None,
    *,
    needed: bool = True,
) -> tuple[list[Encoded], Report]:
    """Encode, prove and cut rows to ``max_length`` tokens.

    Rows that no trained token is left of are not returned but reported: TRL would drop them
    without a word. Raises MaskError when a row cannot be masked, FtwizardError (declined) when
    nothing at all would be trained on and the rows are ``needed``.
    """
    kept: list[Encoded] = []
    lost: list[int] = []
    cut = longest = 0
    for number, row in enumerate(rows):
        one = encoder.encode_row(row)
        longest = max(longest, len(one.input_ids))
        cut += len(one.input_ids) > max_length
        trained = as_trained(one, max_length)
        if trained is None:
            lost.append(row.line)
        else:
            kept.append(trained)
        progress(number + 1, len(rows))
    report = Report(
        route=encoder.route_of(rows),
        rows=len(rows),
        kept=len(kept),
        cut=cut,
        lost=lost,
        tokens=sum(len(one.input_ids) for one in kept),
        trained=sum(one.trained for one in kept),
        longest=longest,
        added=sorted(encoder.added),
    )
    if rows and not kept and needed:
        raise _nothing_left(report, max_length)
    return kept, report


def as_trained(one: Encoded, max_length: int) -> Encoded | None:
    """Return a row as it is trained on: cut to its first ``max_length`` tokens, or not at all.

    A row is left out when none of its tokens is learnt. The first token is never predicted, so its
    label alone trains nothing.
    """
    if len(one.input_ids) > max_length:
        one = msgspec.structs.replace(
            one, input_ids=one.input_ids[:max_length], labels=one.labels[:max_length]
        )
    return None if all(label == IGNORED for label in one.labels[1:]) else one


def _nothing_left(report: Report, max_length: int) -> FtwizardError:
    head = f"None of {plural(report.rows, 'row')} has a token to train on:"
    if not report.cut:
        return FtwizardError(
            f"{head} every answer has the weight 0.", "Give answers the weight 1.", DECLINED
        )
    return FtwizardError(
        f"{head} cut to recipe.max_length {max_length} no answer is left (the longest row has "
        f"{report.longest:,} tokens).",
        "Raise recipe.max_length.",
        DECLINED,
    )


def _runs(mask: list[int]) -> list[Span]:
    """Return the stretches of ones."""
    runs: list[Span] = []
    start = None
    for index, one in enumerate([*mask, 0]):
        if one and start is None:
            start = index
        elif not one and start is not None:
            runs.append((start, index))
            start = None
    return runs


def _choose(tokenizer: Any) -> tuple[Route, str | None]:
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if not tokenizer.chat_template:
        if tokenizer.eos_token_id is None:
            raise MaskError(
                "The model has neither a chat template nor an end-of-text token, so it would never "
                "learn to stop.",
                "Choose its instruct variant.",
            )
        return "plain", None
    try:
        template = get_training_chat_template(tokenizer)
    except Exception:  # noqa: BLE001 (TRL knows it not, or its probing renders what it refuses)
        return "prefixes", None
    if template is not None:
        return "training-template", template
    if has_generation_markers(tokenizer.chat_template):
        return "template", None
    return "prefixes", None
