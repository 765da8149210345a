"""Small models with random weights and adapters, as transformers and peft save them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tests.helpers.models import tiny_tokenizer


def write_llama(
    folder: Path, *, tied: bool = False, dtype: str = "bfloat16", shard: str = "5GB", seed: int = 0
) -> Path:
    """Write a Llama of two blocks; ``shard`` is the largest size of its files."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def write_gpt2(folder: Path) -> Path:
    """Write a GPT-2, whose linear layers are stored transposed."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    end = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, **end)
    GPT2LMHeadModel(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """Write an adapter on ``base`` with random weights; ``settings`` are those of peft's LoraConfig."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for name, parameter in model.named_parameters():
            if "lora_magnitude" in name:
                parameter.data = parameter.data.float() * (1 + torch.rand(parameter.shape) * 0.1)
            elif "lora_" in name:
                parameter.data = torch.randn(parameter.shape) * 0.05
            elif "modules_to_save" in name:
                parameter.data += torch.randn(parameter.shape) * 0.05
        model.save_pretrained(folder)
    return folder


def merge_with_peft(base: Path, adapter: Path, dtype: str = "bfloat16") -> Any:
    """Return the model that peft's ``merge_and_unload`` gives."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()
