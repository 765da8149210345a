"""Forms that a model can be exported to: ``gguf``, ``gguf:q4_k_m``, ``ollama``, ``vllm``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import find_similar, make_visible

QUANTIZATIONS = {
    "q2_k": (10, 3.35), "q3_k_s": (11, 3.64), "q3_k_m": (12, 4.0), "q3_k_l": (13, 4.3),
    "q4_0": (2, 4.66), "q4_1": (3, 5.1), "q4_k_s": (14, 4.67), "q4_k_m": (15, 4.89),
    "q5_0": (8, 5.6), "q5_1": (9, 6.04), "q5_k_s": (16, 5.57), "q5_k_m": (17, 5.7),
    "q6_k": (18, 6.56), "q8_0": (7, 8.5),
}  # fmt: skip
"""Quantizations of GGUF files: ``LlamaFileType``, and bits per weight of Llama 3.1 8B (llama.cpp,
tools/quantize)."""
HALF_BITS = 16.0
ALIASES = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}
KINDS = ("gguf", "ollama", "vllm")
HINT = f"Choose from: {', '.join(KINDS)}; quantized, such as gguf:q4_k_m or ollama:q4_k_m."


class ExportForm(NamedTuple):
    """A form of export."""

    kind: str
    """``gguf``, ``ollama`` or ``vllm``."""
    quantization: str | None = None
    """Of the GGUF file; None for 16 bit."""

    @property
    def name(self) -> str:
        """Return the name as in a plan: ``gguf:q4_k_m``."""
        return f"{self.kind}:{self.quantization}" if self.quantization else self.kind

    @property
    def folder(self) -> str:
        """Return the name of its folder: ``gguf-q4_k_m``."""
        return self.name.replace(":", "-")

    @property
    def needs_gguf(self) -> bool:
        return self.kind in ("gguf", "ollama")

    @property
    def gguf(self) -> ExportForm:
        """Return the form of the GGUF file that it is or contains."""
        return ExportForm("gguf", self.quantization)

    @property
    def bits(self) -> float:
        """Return the bits per weight of its GGUF file; 0 without one."""
        if not self.needs_gguf:
            return 0.0
        return QUANTIZATIONS[self.quantization][1] if self.quantization else HALF_BITS


def parse(name: str) -> ExportForm:
    """Return the form called ``name``; raise FtwizardError for an unknown name."""
    kind, _, quantization = name.strip().lower().partition(":")
    quantization = ALIASES.get(quantization, quantization)
    if kind not in KINDS:
        near = find_similar(kind, (*KINDS, *QUANTIZATIONS))
        guess = (
            f"Did you mean {f'gguf:{near}' if near in QUANTIZATIONS else near}? " if near else ""
        )
        raise FtwizardError(f"Unknown export “{make_visible(name, 60)}”.", guess + HINT, USAGE)
    if not quantization or (kind != "vllm" and quantization in ("f16", "bf16", "16")):
        return ExportForm(kind)
    if kind == "vllm":
        hint = "vLLM serves the merged model. Quantized there: vllm serve … --quantization fp8"
        raise FtwizardError("The export vllm has no quantized form.", hint, USAGE)
    if quantization not in QUANTIZATIONS:
        near = find_similar(quantization, QUANTIZATIONS)
        guess = f"Did you mean {kind}:{near}? " if near else ""
        raise FtwizardError(
            f"Unknown quantization “{make_visible(quantization, 40)}”.",
            f"{guess}Choose from: {', '.join(QUANTIZATIONS)}.",
            USAGE,
        )
    return ExportForm(kind, quantization)


def sum_bits(names: Iterable[str]) -> float:
    """Return the bits per weight of all GGUF files for these forms; a quantized one needs both."""
    files = {form.gguf for form in map(parse, names) if form.needs_gguf}
    quantized = sum(QUANTIZATIONS[form.quantization][1] for form in files if form.quantization)
    return quantized + HALF_BITS if files else 0.0
