"""Small random models of common architectures, made from their configurations."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip


def model_of(name: str) -> Any:
    """Return a model of this architecture with the same weights each time."""
    import torch
    import transformers

    torch.manual_seed(3)
    hf: Any = transformers
    routed = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = {
        "llama": lambda: hf.LlamaConfig(**SMALL),
        "gpt2": lambda: hf.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, vocab_size=128, bos_token_id=1, eos_token_id=2
        ),
        "opt": lambda: hf.OPTConfig(
            hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=128,
            word_embed_proj_dim=32,
        ),
        "bloom": lambda: hf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=128),
        "mamba": lambda: hf.MambaConfig(
            hidden_size=32, num_hidden_layers=2, vocab_size=128, state_size=8
        ),
        "lfm2": lambda: hf.Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
        "gemma3": lambda: hf.Gemma3TextConfig(
            **SMALL, head_dim=8, sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "phi3": lambda: hf.Phi3Config(**SMALL),
        "mixtral": lambda: hf.MixtralConfig(**SMALL, num_local_experts=4),
        "qwen2_moe": lambda: hf.Qwen2MoeConfig(
            **SMALL, **routed, num_experts=4, shared_expert_intermediate_size=16
        ),
        "qwen3_moe": lambda: hf.Qwen3MoeConfig(**SMALL, **routed, num_experts=4, head_dim=8),
        # One of its two layers is dense: the seven projections and fused experts in one model.
        "qwen3_moe_dense": lambda: hf.Qwen3MoeConfig(
            **SMALL, **routed, num_experts=4, head_dim=8, mlp_only_layers=[0]
        ),
        "gpt_oss": lambda: hf.GptOssConfig(**SMALL, num_local_experts=4, head_dim=8),
        "llama4": lambda: hf.Llama4TextConfig(
            **SMALL, num_local_experts=2, head_dim=8, intermediate_size_mlp=48
        ),
        "deepseek_v3": lambda: hf.DeepseekV3Config(
            **{**SMALL, "num_key_value_heads": 4}, **routed, n_routed_experts=4, n_group=2,
            topk_group=1, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16,
            qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
        ),
    }[name]()  # fmt: skip
    return hf.AutoModelForCausalLM.from_config(config)
