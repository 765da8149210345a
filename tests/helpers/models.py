"""Small models for tests: SmolLM2, and models with random weights."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from ftwizard.models import hub
from tests.helpers.shared import shared_folder

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


def fetch_smollm2(cache: Path) -> Path:
    """Fetch SmolLM2-135M-Instruct as users do; return its folder."""
    with pytest.MonkeyPatch.context() as patch, (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("FTWIZARD_CACHE", str(cache))
        return hub.fetch(hub.locate(SMOLLM2), lambda *_, **__: None)


def cache_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the model cache: ``FTWIZARD_TEST_CACHE``, or a folder that the workers share."""
    shared = shared_folder(factory) / "shared-cache"
    folder = Path(os.environ.get("FTWIZARD_TEST_CACHE") or shared)
    folder.mkdir(exist_ok=True)
    return folder


def make_small(real: Path, folder: Path) -> Path:
    """Write a small model with the architecture and tokenizer of ``real``.

    It trains far more quickly and learns little.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(
        real, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(real).save_pretrained(folder)
    return folder


def tiny_tokenizer() -> Any:
    """Return a tokenizer with a chat template and one token per byte."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def make_tiny(folder: Path) -> Path:
    """Write a model with random weights that trains in seconds and learns nothing useful."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def end_answers_soon(folder: Path) -> Path:
    """Make the end of an answer a random model's likeliest next token; return its folder.

    Else each of its answers has as many tokens as are allowed.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        # What all tokens share dominates every hidden state, and points to the end.
        model.get_input_embeddings().weight += 0.1
        model.get_output_embeddings().weight[model.config.eos_token_id] += 0.1
    model.save_pretrained(folder)
    return folder
