"""Loss masks: only answers and their end tokens count, whatever the chat template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.data import reader
from ftwizard.data.conversation import Conversation
from ftwizard.data.example import IGNORE_INDEX
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.train.encoder import Encoder, EncodingError, encode_rows
from tests.paths import FIXTURES

pytestmark = pytest.mark.slow
TOOL_USE = FIXTURES / "tool_use.jsonl"

TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi there"},
    {"role": "assistant", "content": "Hello you"},
    {"role": "user", "content": "Say bye now"},
    {"role": "assistant", "content": "Farewell"},
]
# Vision templates, which expect each turn as a list of parts.
WANT_PARTS = {"idefics3", "smolvlm", "llava_next"}
_SPECIAL = re.compile(
    r"<[|｜][^<>\s'\"{}]+[|｜]>|<(?:start|end)_of_\w+>|<\|?turn\|?>|\[/?INST\]|</s>"
)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def templates() -> list[Path]:
    """Return every chat template that TRL ships, except training variants."""
    import importlib.util

    spec = importlib.util.find_spec("trl")
    assert spec and spec.origin
    folder = Path(spec.origin).parent / "chat_templates"
    return [p for p in sorted(folder.glob("*.jinja")) if not p.stem.endswith("_training")]


def trained_text(tokenizer: Any, labels: list[int]) -> str:
    return str(tokenizer.decode([label for label in labels if label != IGNORE_INDEX]))


@pytest.mark.parametrize("template", templates(), ids=lambda p: p.stem)
def test_trl_templates_train_only_answers_and_end_tokens(smollm2: Path, template: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = template.read_text()
    special = sorted(set(_SPECIAL.findall(tokenizer.chat_template)))
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    conversation = Conversation(messages=TALK)
    if template.stem in WANT_PARTS:
        with pytest.raises(EncodingError):
            encoder.encode(conversation, 1)
        return
    labels = encoder.encode(conversation, 1).labels
    text = trained_text(tokenizer, labels)
    assert "Hello you" in text and "Farewell" in text
    assert "Hi there" not in text and "Say bye" not in text
    assert encoder.end_ids <= set(labels), "the end of the turn is trained"


def test_smollm2_mask_covers_exactly_answers_and_end_of_turn(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    row = encoder.encode(Conversation(messages=TALK), 1)
    assert encoder.route == "prefixes"
    assert trained_text(tokenizer, row.labels) == "Hello you<|im_end|>Farewell<|im_end|>"
    assert all(
        label in (IGNORE_INDEX, i) for label, i in zip(row.labels, row.input_ids, strict=True)
    )
    whole = tokenizer.apply_chat_template(TALK, tokenize=False)
    assert tokenizer.decode(row.input_ids) == whole
    assert encoder.added == set()


def test_file_with_top_level_system_prompts_trains_only_answers(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    rows = reader.read_table(TOOL_USE).rows
    encoded, report = encode_rows(encoder, rows, 1024)
    assert (report.rows, report.used, report.truncated, report.lines_without_loss) == (
        96,
        96,
        0,
        [],
    )
    for row, item in zip(rows, encoded, strict=True):
        assert trained_text(tokenizer, item.labels) == row.conversation.answer + "<|im_end|>"
        assert "You are a bot that can handle different requests" in tokenizer.decode(
            item.input_ids
        )


@pytest.mark.parametrize("stem", ["qwen3", "qwen2_5", "gptoss", "llama3_1", "glm4moe"])
def test_tool_calls_are_trained_but_tool_results_are_not(smollm2: Path, stem: str) -> None:
    tokenizer = load_tokenizer(smollm2)
    template = next(p for p in templates() if p.stem == stem)
    tokenizer.chat_template = template.read_text()
    special = sorted(set(_SPECIAL.findall(tokenizer.chat_template)))
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    function = {"name": "multiply", "arguments": {"a": 2, "b": 3}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Calculate with tools."},
        {"role": "user", "content": "What is 2 times 3?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": function}],
        },
        {"role": "tool", "name": "multiply", "content": "The product is six"},
        {"role": "assistant", "content": "It makes 6."},
    ]
    tool = {"type": "function", "function": {
        "name": "multiply", "description": "Multiplies numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "number", "description": "A"},
                                                        "b": {"type": "number", "description": "B"}}},
    }}  # fmt: skip
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    row = encoder.encode(Conversation(messages=messages, tools=[tool]), 1)
    text = trained_text(tokenizer, row.labels)
    assert "multiply" in text and "It makes 6." in text
    for other in ("The product is six", "Calculate", "What is 2", "Multiplies"):
        assert other not in text


def test_answer_with_weight_zero_is_not_trained(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    messages = [TALK[0], {**TALK[1], "weight": 0}, *TALK[2:]]
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    row = encoder.encode(Conversation(messages=messages), 1)
    assert trained_text(tokenizer, row.labels) == "Farewell<|im_end|>"


def test_unicode_whitespace_and_markup_answers_are_trained(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    for text in ("naïve é 你好 🙂", "e\u0301te\u0301", "  padded  ", "a\r\nb", "<b>&amp;</b>"):
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        row = encoder.encode(Conversation(messages=messages), 1)
        assert text.strip() in trained_text(tokenizer, row.labels)


def test_rows_without_trainable_tokens_after_truncation_are_reported(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    rows = reader.read_table(TOOL_USE).rows
    encoded, report = encode_rows(encoder, rows, 40)
    assert report.used == len(encoded) < report.rows
    assert report.used + len(report.lines_without_loss) == report.rows
    assert report.truncated == sum(
        len(encoder.encode(r.conversation, 1).input_ids) > 40 for r in rows
    )
    assert all(len(item.input_ids) <= 40 and item.trained for item in encoded)
    with pytest.raises(FtwizardError, match="max_length") as refusal:
        encode_rows(encoder, rows, 8)
    assert refusal.value.exit_code == DECLINED


def test_template_without_an_end_token_is_refused(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError, match="never learn to stop"):
        encoder.encode(Conversation(messages=TALK), 3)


def test_template_that_changes_earlier_turns_is_refused(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if loop.last or m.role != 'assistant' %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError, match=r"Line 3.*earlier turns"):
        encoder.encode(Conversation(messages=TALK), 3)


def test_generation_marks_on_all_turns_are_refused(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}\n{% endfor %}"
    )
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError):
        encoder.encode(Conversation(messages=TALK), 1)


def test_tool_results_inside_generation_marks_are_refused(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{% else %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' %}{% generation %}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }} said {{ messages[loop.index + 1].content }}{% endfor %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}"
        "\n{% endif %}{% endfor %}"
    )
    messages: list[dict[str, Any]] = [
        TALK[0],
        {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "content": "It is raining in Oslo"},
        {"role": "assistant", "content": "Rain."},
    ]  # fmt: skip
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError, match="which is not an answer"):
        encoder.encode(Conversation(messages=messages), 1)


def test_unk_token_equal_to_eos_does_not_hide_wrong_marks(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.unk_token = tokenizer.eos_token
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'user' %}"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}"
        "<|im_end|>{% endif %}\n{% endfor %}"
    )
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError):
        encoder.encode(Conversation(messages=TALK), 1)


def test_template_exception_is_reported(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = "{{ raise_exception('Roles must alternate') }}"
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    with pytest.raises(EncodingError, match="Roles must alternate"):
        encoder.encode(Conversation(messages=TALK), 1)


@pytest.fixture
def base_tokenizer(smollm2: Path) -> Any:
    """Return a base model's tokenizer: no chat template, but an end-of-text token."""
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = None
    tokenizer.eos_token = "<|endoftext|>"
    return tokenizer


def test_base_model_trains_only_answer_and_end_of_text(base_tokenizer: Any) -> None:
    encoder = Encoder(base_tokenizer, {base_tokenizer.eos_token_id})
    assert encoder.route == "plain"
    for prompt, answer in (("The sky is", " blue."), ("Say it: ", "naïve 你好"), ("a", "b")):
        row = Conversation(messages=[
            {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}
        ])  # fmt: skip
        item = encoder.encode(row, 1)
        assert base_tokenizer.decode(item.input_ids) == f"{prompt}{answer}<|endoftext|>"
        assert trained_text(base_tokenizer, item.labels) == f"{answer}<|endoftext|>"
        before = encoder.prompt_ids(row.prompt, None)
        assert item.input_ids[: len(before)] == before
        assert set(item.labels[: len(before)]) == {IGNORE_INDEX}
    assert encoder.end_ids == {base_tokenizer.eos_token_id} and not encoder.added


@pytest.mark.parametrize(
    "row",
    [
        Conversation(messages=TALK),
        Conversation(messages=[{"role": "system", "content": "Be brief"}, *TALK[:2]]),
        Conversation(messages=TALK[:2], tools=[{"type": "function"}]),
    ],
)
def test_base_model_refuses_rows_beyond_prompt_and_answer(
    base_tokenizer: Any, row: Conversation
) -> None:
    encoder = Encoder(base_tokenizer, {base_tokenizer.eos_token_id})
    with pytest.raises(EncodingError, match="no chat template, and this row") as refusal:
        encoder.encode(row, 1)
    assert "instruct variant" in refusal.value.hint


def test_base_model_adds_no_end_token_after_the_prompt(base_tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    eos = base_tokenizer.eos_token_id
    base_tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|endoftext|>",
        special_tokens=[("<|im_start|>", 1), ("<|endoftext|>", eos)],
    )
    item = Encoder(base_tokenizer, {eos}).encode(Conversation(messages=TALK[:2]), 1)
    assert base_tokenizer.decode(item.input_ids) == "<|im_start|>Hi thereHello you<|endoftext|>"


def test_tokenizer_without_template_and_end_token_is_refused(base_tokenizer: Any) -> None:
    base_tokenizer.eos_token = None
    with pytest.raises(EncodingError, match="neither a chat template nor an end-of-text"):
        Encoder(base_tokenizer, set())


def test_encoding_report_serializes_to_json(smollm2: Path) -> None:
    tokenizer = load_tokenizer(smollm2)
    encoder = Encoder(tokenizer, {tokenizer.eos_token_id})
    _, report = encode_rows(encoder, reader.read_table(TOOL_USE).rows[:3], 1024)
    assert msgspec.json.decode(msgspec.json.encode(report))["route"] == "prefixes"
