"""Tests of what chat templates leave out, with the templates of well-known models that TRL ships."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ftwizard.data import formats
from ftwizard.data.conversation import to_conversation
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.estimate import report_text
from ftwizard.plan.schema import Recipe
from ftwizard.train import dataset, mask_report
from ftwizard.train.encoder import Encoder, EncodingError, encode_rows
from ftwizard.train.template_losses import count_losses, find_losses
from tests.helpers.models import tiny_tokenizer

ASK = {"role": "user", "content": "What is 3 and 4?"}
THOUGHT = "I count on from three: What is 3 and 4?"
TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer"}}}}},
]  # fmt: skip
CALL = [
    {"type": "function", "id": "call12345", "function": {"name": "add", "arguments": '{"a": 3}'}}
]


@functools.cache
def make_encoder(template: str | None) -> Encoder:
    """Return an encoder with a template that TRL ships; None: the test's own, with nothing but texts."""
    tokenizer = tiny_tokenizer()
    if template:
        spec = importlib.util.find_spec("trl")
        assert spec and spec.origin
        path = Path(spec.origin).parent / "chat_templates" / f"{template}.jinja"
        tokenizer.chat_template = path.read_text("utf-8")
    return Encoder(tokenizer, {tokenizer.eos_token_id})


def make_row(*messages: dict[str, Any], line: int = 1, **more: Any) -> ParsedRow:
    example = formats.to_example({"messages": list(messages), **more}, "openai-chat")
    return ParsedRow(line=line, example=example, conversation=to_conversation(example))


def answer(content: str = "7", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def decode_trained(encoder: Encoder, row: ParsedRow) -> str:
    mask = mask_report.mask_row(encoder, row, 100_000)
    return "".join(span.text for span in mask.spans if span.trained)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
@pytest.mark.parametrize("template", ["qwen3", "qwen3_5_think"])
def test_reasoning_is_trained_on_where_the_template_reads_it_under_any_name(
    template: str, key: str
) -> None:
    encoder, row = make_encoder(template), make_row(ASK, answer(**{key: THOUGHT}))
    assert "reasoning_content" in encoder.reasoning_keys
    assert find_losses(encoder, row) == set()
    assert f"<think>\n{THOUGHT}\n</think>" in decode_trained(encoder, row)
    assert not any(THOUGHT in text for text in encoder.added)


@pytest.mark.parametrize("template", [None, "gemma", "llama3_1", "qwen2_5"])
def test_reasoning_that_a_template_drops_is_a_finding_with_its_rows(template: str | None) -> None:
    encoder = make_encoder(template)
    assert encoder.reasoning_keys == ()
    rows = [make_row(ASK, answer(), line=1), make_row(ASK, answer(thinking=THOUGHT), line=2)]
    assert find_losses(encoder, rows[1]) == {"reasoning"}
    report, _ = mask_report.report_tokens(encoder, rows, 1000, "a model", lambda *_, **__: None)
    codes = {finding.code: finding for finding in report.findings}
    if template is None:  # the others end answers with tokens that this tokenizer lacks
        assert codes["reasoning_dropped"].lines == [2]
    assert count_losses(encoder, rows) == {"reasoning": 1}


@pytest.mark.parametrize(
    ("condition", "losses"),
    [("m.thinking and loop.last", {"earlier reasoning"}), ("m.thinking", set())],
)
def test_reasoning_of_earlier_answers_is_trained_on_if_the_template_keeps_it(
    condition: str, losses: set[str]
) -> None:
    """A template that drops it does not refuse the row."""
    tokenizer = tiny_tokenizer()
    thought = f"{{% if {condition} %}}<think>{{{{ m.thinking }}}}</think>{{% endif %}}"
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m.content }}", thought + "{{ m.content }}"
    )
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    row = make_row(ASK, answer(thinking=THOUGHT), ASK, answer("8", thinking="Again."))
    assert find_losses(encoder, row) == losses
    trained = decode_trained(encoder, row)
    assert "Again." in trained and (THOUGHT in trained) == (not losses)
    if not losses:
        assert encoder.route == "prefixes"


def test_schemas_and_results_that_a_template_drops_are_a_finding() -> None:
    encoder = make_encoder(None)
    rows = [make_row(ASK, answer(), line=line, tools=TOOLS) for line in (1, 2, 3)]
    report, _ = mask_report.report_tokens(encoder, rows, 1000, "a model", lambda *_, **__: None)
    (finding,) = [finding for finding in report.findings if finding.code == "tools_dropped"]
    assert finding.count == 3 and finding.lines == [1, 2, 3] and "tools (3)" in finding.message


def test_a_call_that_a_template_drops_refuses_the_row_with_that_reason() -> None:
    encoder = make_encoder("llama3")
    row = make_row(ASK, answer("Sure.", tool_calls=CALL), tools=TOOLS)
    report, _ = mask_report.report_tokens(encoder, [row], 1000, "a model", lambda *_, **__: None)
    (finding,) = [finding for finding in report.findings if finding.code == "model_mismatch"]
    assert "leaves out the answer's tool call" in finding.message


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3"])
def test_tools_that_a_template_has_are_no_finding(template: str) -> None:
    result = {"role": "tool", "content": "7", "tool_call_id": "call12345", "name": "add"}
    call = answer("", tool_calls=CALL)
    row = make_row(ASK, call, result, answer("It is 7."), tools=TOOLS)
    assert find_losses(make_encoder(template), row) == set()


def test_prompts_have_no_earlier_reasoning() -> None:
    row = make_row(ASK, answer(thinking=THOUGHT), ASK, answer("8", thinking="Again."))
    assert row.conversation.messages[1]["thinking"] == THOUGHT
    assert row.conversation.prompt == [ASK, answer(), ASK]


def test_a_run_and_its_estimate_say_what_the_template_drops() -> None:
    encoder = make_encoder(None)
    rows = [make_row(ASK, answer(thinking=THOUGHT), line=line) for line in (1, 2)]
    parts = {"train": rows, "validation": rows[:1]}
    _, reports = dataset.encode_parts(encoder, parts, Recipe(max_length=1000), lambda *_: None)
    assert reports["train"].dropped == {"reasoning": 2}
    assert reports["validation"].dropped == {"reasoning": 1}
    notes = [line.text for line in report_text._format_notes("training", reports["train"], None)]
    assert any("the reasoning of 2 rows" in str(note) for note in notes)


def test_thoughts_in_parts_are_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": "7"}]
    row = make_row(ASK, {"role": "assistant", "content": parts})
    assert row.conversation.messages[1] == answer(reasoning_content=THOUGHT)
    assert THOUGHT in decode_trained(make_encoder("qwen3"), row)


def test_a_run_counts_the_rows_whose_calls_a_template_drops() -> None:
    rows = [
        make_row(ASK, answer("Sure.", tool_calls=CALL), line=line, tools=TOOLS) for line in (1, 2)
    ]
    rows.append(make_row(ASK, answer(), line=3))
    with pytest.raises(EncodingError, match=r"^Line 1: .* tool call\. 2 of 3 rows cannot be used"):
        encode_rows(make_encoder(None), rows, 1000)


class _Worker:
    """The part of a worker that encoding writes to."""

    def __init__(self) -> None:
        self.events = self
        self.findings: dict[str, str] = {}

    def write(self, kind: str, **fields: Any) -> None: ...

    def phase(self, name: str, **fields: Any) -> None: ...

    def write_finding(self, code: str, message: str, severity: str = "info") -> None:
        self.findings[code] = message


def encode_parts(rows: list[ParsedRow]) -> dict[str, str]:
    """Encode rows as a run does; return its findings."""
    worker: Any = _Worker()
    dataset.encode(
        worker, make_encoder(None), {"train": rows, "validation": rows[:1]}, Recipe(max_length=1000)
    )
    return dict(worker.findings)


def test_a_run_writes_what_its_template_drops() -> None:
    findings = encode_parts([make_row(ASK, answer(thinking=THOUGHT))])
    assert "leaves out the reasoning of 1 row" in findings["template_drops"]


def test_a_run_says_that_user_turns_in_a_text_are_trained_on() -> None:
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    example = Example(kind="text", text=text)
    row = ParsedRow(line=1, example=example, conversation=to_conversation(example))
    assert encode_parts([row])["template_text"].startswith("1 row (train)")
    plain = Example(kind="text", text="Human beings say hello.")
    row = ParsedRow(line=1, example=plain, conversation=to_conversation(plain))
    assert "template_text" not in encode_parts([row])
