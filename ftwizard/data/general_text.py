"""Packaged general text: the probability that a model gives it shows what a training breaks."""

from __future__ import annotations

import functools
from importlib.resources import files

import msgspec

MIN_TEXTS = 20
"""Texts that are measured on a CPU."""
CHARACTERS_PER_TOKEN = 4.0
"""Assumed for estimates of time."""


class Paragraph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paragraph of the packaged general text."""

    text: str
    register: str
    """Such as ``news``, ``dialogue``, ``code``."""
    language: str = "en"
    """ISO 639-1."""


@functools.cache
def read_general_text() -> list[Paragraph]:
    """Read all paragraphs. They were written for this project."""
    file = files("ftwizard").joinpath("assets", "evaluation", "general_text.jsonl")
    return msgspec.json.Decoder(Paragraph).decode_lines(file.read_bytes())


def select_texts(*, on_gpu: bool) -> list[str]:
    """Return the texts that are measured: all on a GPU, on a CPU each second."""
    texts = [paragraph.text for paragraph in read_general_text()]
    return texts if on_gpu else texts[:: len(texts) // MIN_TEXTS]


def estimate_tokens(*, on_gpu: bool) -> float:
    """Estimate the tokens of these texts, whatever the tokenizer."""
    return sum(map(len, select_texts(on_gpu=on_gpu))) / CHARACTERS_PER_TOKEN
