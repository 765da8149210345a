"""Files of a model besides its weights: tokenizer, chat template and generation settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ftwizard.models import model_folder

_SERVED = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "LICENSE*", "NOTICE*")
"""Files of a base that servers and converters read, or that its license asks to keep."""
_OWN = (
    "adapter_config.json", "config.json", "ftwizard.json", "generation_config.json", "proof.json",
    "requirements.txt", "trainer_state.json",
)  # fmt: skip
"""Files with such names that are not copied."""
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
    "vocab.txt", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_VOCABULARY = ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
"""Files of a base's tokenizer that stay right beside the tokenizer of its adapter, whose
``tokenizer.json`` has the added tokens. Converters to GGUF read them."""
GENERATION_CONFIG = "generation_config.json"
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")


def find_tokenizer(tuned: Path, base: Path) -> Path | None:
    """Return the folder of the tokenizer: that of the tuned weights, else the base's, else None."""
    for folder in (tuned, base):
        if any((folder / name).exists() for name in _TOKENIZER):
            return folder
    return None


def copy_files(base: Path, tokenizer: Path | None, part: Path) -> None:
    """Copy what servers need from ``base``, and the tokenizer and its template from ``tokenizer``.

    Files that are in ``part`` already are kept.
    """
    has_own_tokenizer = tokenizer is not None and tokenizer != base
    for source in list_served(base):
        is_replaced = has_own_tokenizer and _is_tokenizer(source.name)
        if (part / source.name).exists() or (is_replaced and source.name not in _VOCABULARY):
            continue
        shutil.copyfile(source, part / source.name)
    if tokenizer is None or not has_own_tokenizer:
        return
    for source in list_served(tokenizer):
        if _is_tokenizer(source.name):
            shutil.copyfile(source, part / source.name)


def list_served(folder: Path) -> list[Path]:
    """Return the small files of a model's folder that go with its weights."""
    paths = {path for pattern in _SERVED for path in folder.glob(pattern) if path.is_file()}
    return sorted(
        path for path in paths if path.name not in _OWN and not path.name.endswith(".index.json")
    )


def _is_tokenizer(name: str) -> bool:
    return name in _TOKENIZER or name.startswith("chat_template")


def write_generation_config(base: Path, part: Path, end_ids: list[int]) -> None:
    """Write the generation settings of a merged model, if it has any."""
    if config := make_generation_config(base, end_ids):
        path = part / GENERATION_CONFIG
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def make_generation_config(base: Path, end_ids: list[int]) -> dict[str, Any]:
    """Return the base's generation settings, with the tokens that ended answers in training.

    Without any, the special tokens of its configuration are used, as in transformers.
    """
    config = model_folder.read_json(base / GENERATION_CONFIG)
    if config is None:
        model = model_folder.read_json(base / "config.json") or {}
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        config = {name: model[name] for name in names if model.get(name) is not None}
    eos_ids = config.get("eos_token_id")
    eos_ids = eos_ids if isinstance(eos_ids, list) else [] if eos_ids is None else [eos_ids]
    if new_ids := [i for i in end_ids if i not in eos_ids]:
        config["eos_token_id"] = [*eos_ids, *new_ids]
    if not config.get("do_sample"):
        # Some models ship these without do_sample; transformers refuses to save them then.
        for name in _SAMPLING:
            config.pop(name, None)
    return config
