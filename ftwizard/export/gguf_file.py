"""GGUF files: what is in them, read back with the ``gguf`` package, and the EOS token."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.runs.exports import GgufFacts
from ftwizard.text import make_visible

K_QUANT_BLOCK = 256
"""Weights of a K-quant's block: rows of another length get another type (llama.cpp, ggml-common.h)."""
_END_KEYS = ("eos", "eot", "eom")


def read_facts(path: Path, template: str | None, quantization: str | None = None) -> GgufFacts:
    """Read a file back and compare its chat template with ``template``.

    ``quantization``: ``q4_k_m``, of which the tensors that fell back to other types are counted.
    Raises FtwizardError for a file that is not a complete GGUF file.
    """
    try:
        reader = open_file(path)
        architecture = _read(reader, "general.architecture")
        types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        fallbacks: Counter[str] = Counter()
        if quantization and "_k" in quantization:
            fallbacks.update(
                tensor.tensor_type.name
                for tensor in reader.tensors
                if len(tensor.shape) > 1 and int(tensor.shape[0]) % K_QUANT_BLOCK
            )
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise FtwizardError(
            f"{make_visible(str(path))} could not be read back as GGUF: {error}.",
            "Delete it, and export again.",
        ) from error
    written = _read(reader, "tokenizer.chat_template")
    ends = [_read(reader, f"tokenizer.ggml.{key}_token_id") for key in _END_KEYS]
    bos = _read(reader, "tokenizer.ggml.bos_token_id")
    adds_bos = _read(reader, "tokenizer.ggml.add_bos_token")
    if adds_bos is None:  # SentencePiece's default in llama.cpp (llama-vocab.cpp)
        adds_bos = _read(reader, "tokenizer.ggml.model") == "llama"
    return GgufFacts(
        architecture=str(architecture),
        tensors=len(reader.tensors),
        types=dict(types),
        fallbacks=dict(fallbacks),
        template_equal=None if template is None and written is None else written == template,
        end_ids=sorted({int(token) for token in ends if token is not None}),
        bos_id=None if bos is None else int(bos),
        adds_bos=bool(adds_bos),
        context=int(_read(reader, f"{architecture}.context_length") or 0),
    )


def open_file(path: Path) -> Any:
    """Return gguf's reader of a file; raise ValueError if it is damaged, or shorter than its table of
    tensors says.
    """
    import gguf

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
            ends = [0]
            for *_, dims, kind, offset in (field.parts for field in fields):
                block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(int(kind[0]))]
                length = math.prod(map(int, dims)) * size // block
                ends.append(start_offs + int(offset[0]) + length)
            if len(self.data) < max(ends):
                raise EOFError(f"the file is cut: it has {len(self.data):,} of {max(ends):,} bytes")
            super()._build_tensors(start_offs, fields)

    try:
        return Reader(path)
    except EOFError as error:
        raise ValueError(str(error)) from None
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"its header is cut or damaged ({error})") from None


def _read(reader: Any, key: str) -> Any:
    field = reader.fields.get(key)
    return field.contents() if field else None


def set_eos(path: Path, token: int) -> int | None:
    """Make ``token`` the EOS token, in place; return the one before, None if there was none."""
    import gguf

    field = gguf.GGUFReader(path, "r+").fields.get("tokenizer.ggml.eos_token_id")
    if field is None:
        return None
    value = field.parts[field.data[0]]
    before = int(value[0])
    value[0] = token
    value.base.flush() if hasattr(value.base, "flush") else None
    return before
