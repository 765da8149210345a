"""Text quality: control, invisible and bidirectional characters, mojibake, control tokens of chat
templates, HTML and placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ftwizard.data import unicode
from ftwizard.data.checks.turns import format_location, get_texts, list_all_messages
from ftwizard.data.example import Example
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.data.privacy import prefilter
from ftwizard.data.privacy.quote import quote

# Named tokens of the form <|…|> by model family, from each tokenizer_config.json.
_BARRED = {
    "ChatML (Qwen and many others)": (
        "im_start im_end im_sep object_ref_start object_ref_end box_start box_end quad_start "
        "quad_end vision_start vision_end vision_pad image_pad video_pad repo_name file_sep"
    ),
    "GPT-2, GPT-4, Qwen and others": (
        "endoftext endofprompt fim_prefix fim_middle fim_suffix fim_pad"
    ),
    "Llama 3 and 4": (
        "begin_of_text end_of_text start_header_id end_header_id eot_id eom_id python_tag "
        "finetune_right_pad_id step_id header_start header_end eot eom"
    ),
    "gpt-oss (Harmony), Phi, Zephyr and GLM": (
        "start end message channel constrain return call user assistant system observation tool "
        "startoftext endofturn"
    ),
    "Command R": ("START_OF_TURN_TOKEN END_OF_TURN_TOKEN USER_TOKEN CHATBOT_TOKEN SYSTEM_TOKEN"),
    "Kimi": "im_user im_assistant im_system im_middle media_start media_end media_pad",
}
_FAMILY = {name: family for family, names in _BARRED.items() for name in names.split()}
_OTHERS = (
    (re.compile(r"<｜[^｜<>\n]{1,40}｜>"), "DeepSeek"),
    (re.compile(r"\[/?INST\]|<</?SYS>>"), "Llama 2 and Mistral"),
    (re.compile(r"\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"), "Mistral"),
    (re.compile(r"<(?:start|end)_of_turn>|<(?:bos|eos)>"), "Gemma"),
    (re.compile(r"\[gMASK\]"), "GLM"),
    (re.compile(r"<end_of_utterance>"), "SmolVLM and Idefics"),
)
_BAR = re.compile(r"<\|([a-zA-Z0-9_]{1,40})\|>")
_RESERVED = re.compile(r"reserved_(?:special_)?token_\d+|reserved_\d+")
# <s> is also strikethrough in HTML, so only an unpaired one at the start or end of a text counts.
_BEGIN = re.compile(r"\s*<s>(?!.*</s>.*\S)", re.DOTALL)
_END = re.compile(r"</s>\s*\Z")
_PAGE = re.compile(r"<!doctype html|<html[\s>]|<body[\s>]|<script[\s>]", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"\[object Object\]|\blorem ipsum\b|(?<![${])\{\{ ?[a-z_][a-z0-9_]* ?\}\}(?!\})", re.IGNORECASE
)
_NO_VALUE = frozenset({"nan", "NaN", "NaT", "<NA>", "undefined", "#REF!", "#N/A", "#VALUE!"})


def find_control_token(text: str) -> tuple[str, str] | None:
    """Return the first control token in a text and its model family, or None."""
    for match in _BAR.finditer(text):
        name = match[1]
        if name in _FAMILY:
            return match[0], _FAMILY[name]
        if _RESERVED.fullmatch(name):
            return match[0], "Llama 3, Phi and others"
    for pattern, family in _OTHERS:
        if token := pattern.search(text):
            return token[0], family
    if _BEGIN.match(text):
        return "<s>", "Llama 2 and Mistral"
    if _END.search(text) and "<s>" not in text:
        return "</s>", "Llama 2 and Mistral"
    return None


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield the findings about the texts of a row."""
    turns = list_all_messages(example)
    row_texts = [text for message in turns for text in get_texts(message)]
    if isinstance(example.text, str):
        row_texts.append(example.text)
    suspected = prefilter.match_text("\n".join(row_texts))
    if not suspected:
        return
    checks = [check_text for name, check_text in _CHECKS.items() if name in suspected]
    for number, message in enumerate(turns, 1):
        for text in get_texts(message):
            for check_text in checks:
                if finding := check_text(text, format_location(example, number, message)):
                    yield finding
    if isinstance(example.text, str):
        for check_text in checks:
            # Plain text may legitimately be written in a model's own template.
            if check_text is not _check_special and (
                finding := check_text(example.text, "the text")
            ):
                yield finding


def _check_control(text: str, where: str) -> RowFinding | None:
    if (match := unicode.CONTROL.search(text)) is None:
        return None
    return RowFinding(
        "control_char",
        f"{where} contains the control character U+{ord(match[0]):04X}",
        "remove it: terminals obey it, and the model would learn to write it",
    )


def _check_bidi(text: str, where: str) -> RowFinding | None:
    if (match := unicode.BIDI.search(text)) is None:
        return None
    return RowFinding(
        "bidi",
        f"{where} contains the bidirectional control U+{ord(match[0]):04X}",
        "remove it unless intended: people and the model read different texts",
    )


def _check_hidden(text: str, where: str) -> RowFinding | None:
    if (match := unicode.HIDDEN.search(unicode.FLAG.sub("", text))) is None:
        return None
    return RowFinding(
        "hidden_text",
        f"{where} contains the invisible character U+{ord(match[0][0]):04X}",
        "remove it: people do not see it, but the model learns it",
    )


def _check_replacement(text: str, where: str) -> RowFinding | None:
    if "\ufffd" not in text:
        return None
    return RowFinding(
        "replacement_char",
        f"{where} contains U+FFFD, which replaces bytes that could not be decoded",
        "recreate the file from its source with the right encoding",
    )


def _check_mojibake(text: str, where: str) -> RowFinding | None:
    if not unicode.is_mojibake(text):
        return None
    return RowFinding(
        "mojibake",
        f"{where} was decoded with the wrong encoding (such as “Ã©” for “é”)",
        "recreate the file as UTF-8, or fix it: ftwizard check DATA --fix OUT",
    )


def _check_page(text: str, where: str) -> RowFinding | None:
    if _PAGE.search(text) is None or _PAGE.search(_CODE.sub("", text)) is None:
        return None
    return RowFinding(
        "artifact",
        f"{where} contains HTML of a web page",
        "keep only its text, unless the model should write HTML",
    )


def _check_placeholder(text: str, where: str) -> RowFinding | None:
    if (
        _PLACEHOLDER.search(text) is None
        or (match := _PLACEHOLDER.search(_CODE.sub("", text))) is None
    ):
        return None
    return RowFinding(
        "placeholder.template",
        f"{where} contains the unfilled placeholder “{quote(match[0], 40)}”",
        "fill in the text or delete the row",
    )


def _check_no_value(text: str, where: str) -> RowFinding | None:
    if (word := text.strip()) not in _NO_VALUE:
        return None
    return RowFinding(
        "placeholder.no_value",
        f"{where} is “{word}”, which programs write for a missing value",
        "fill in the text or delete the row",
    )


def _check_special(text: str, where: str) -> RowFinding | None:
    if (token := find_control_token(text)) is None:
        return None
    return RowFinding(
        f"special_token.{token[1]}",
        f"{where} contains “{quote(token[0], 40)}”, a control token of {token[1]}",
        "remove it: such models obey it anywhere in the text",
    )


_CHECKS: dict[str, Callable[[str, str], RowFinding | None]] = {
    "control": _check_control,
    "separator": _check_control,
    "bidi": _check_bidi,
    "hidden": _check_hidden,
    "replacement": _check_replacement,
    "mojibake": _check_mojibake,
    "page": _check_page,
    "placeholder": _check_placeholder,
    "no_value": _check_no_value,
    "special": _check_special,
}
"""By the name of the expression in ``prefilter.TEXT`` that calls for the check."""
