"""Chat-template control tokens in text, where tokenizers obey them instead of reading them."""

from __future__ import annotations

import re

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
