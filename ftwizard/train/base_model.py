"""The base model in memory: 16 bit, 4 bit or 32 bit, and where its generation ends.

No code that comes with a model is ever run, nor is anybody asked whether it may be: transformers
would ask on the standard input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftwizard import refused
from ftwizard.errors import FtwizardError
from ftwizard.plan import Method
from ftwizard.text import visible

KNOWN = "It needs safetensors weights of a causal language model that transformers knows."


def refuse_quantised(base: Path) -> dict[str, Any]:
    """Return the model's configuration; raise FtwizardError if its weights are quantised.

    An adapter cannot be merged into 4-bit weights: it goes wrong, and in silence.
    """
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    if error := refused.quantised(config, str(base)):
        raise error
    return config


def load(base: Path, precision: str) -> Any:
    """Load a base or merged model; raise FtwizardError for one that cannot be used."""
    return _load(base, dtype=_dtype(precision))


def load_to_train(base: Path, method: Method, precision: str, attention: str | None = None) -> Any:
    """Load the base as ``method`` trains it, computing in ``precision``."""
    how = {"attn_implementation": attention} if attention else {}
    if method == "full":
        # In 32 bit whatever is computed in: bfloat16 keeps 8 bits of a weight, and an update of
        # 2e-5 is lost in the rounding of most of them. Autocast multiplies in 16 bit.
        return _load(base, dtype=_dtype("fp32"), **how)
    if method == "lora":
        return _load(base, dtype=_dtype(precision), **how)
    from transformers import BitsAndBytesConfig

    # QLoRA, Dettmers et al. 2023, section 3: NF4 with double quantisation.
    quantisation = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_dtype(precision),
    )
    model = _load(base, dtype=_dtype(precision), quantization_config=quantisation, **how)
    _keep_gradients(model)
    return model


def _keep_gradients(model: Any) -> None:
    """Keep bitsandbytes 0.50 from repacking weights at the first evaluation on AVX512-BF16.

    Its kernel for repacked weights has no backward pass, and training goes on with them: two
    thirds of the adapter's tensors then get no gradient any more, in silence.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _dtype(precision: str) -> Any:
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def _load(base: Path, **more: Any) -> Any:
    from transformers import AutoModelForCausalLM

    refuse_quantised(base)
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, use_safetensors=True, trust_remote_code=False, **more
        )
    except (OSError, ValueError, KeyError) as error:
        blames_attention = "attn_implementation" in more and "attention" in str(error)
        hint = "Set recipe.attention to auto." if blames_attention else KNOWN
        raise _not_loaded("model", base, error, hint) from error


def load_config(base: Path) -> Any:
    """Return transformers' configuration of a model; raise FtwizardError if it knows no such one,
    and for an encoder."""
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded("configuration", base, error, KNOWN) from error
    if refusal := refused.encoder(found.to_dict(), str(base)):
        raise refusal
    return found


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model or an adapter; raise FtwizardError if it cannot be used."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # its Rust part raises no narrower one
        hint = "It needs a tokenizer that transformers knows; a tokenizer.json is one."
        raise _not_loaded("tokenizer", folder, error, hint) from error


def without_weights(base: Path) -> Any:
    """Return the model with modules and no weights (torch's device ``meta``); errors as ``load``."""
    import torch
    from transformers import AutoModelForCausalLM

    refuse_quantised(base)
    auto: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            return auto.from_config(load_config(base), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded("model", base, error, KNOWN) from error


def _not_loaded(what: str, folder: Path, error: Exception, hint: str) -> FtwizardError:
    shown = visible(str(folder))
    if "trust_remote_code" in str(error):  # what transformers says of code that comes with a model
        return FtwizardError(
            f"The {what} in {shown} needs code of its own (auto_map in its files), which is never "
            "run here.",
            "Choose a model that transformers itself knows.",
        )
    said = visible((str(error).splitlines() or [type(error).__name__])[0], 300)
    return FtwizardError(f"The {what} in {shown} cannot be loaded: {said}", hint)


def stop_ids(base: Path) -> set[int]:
    """Return the tokens at which the model's generation ends, by its own configuration."""
    found: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        try:
            value = json.loads((base / file).read_text()).get("eos_token_id")
        except (OSError, ValueError):
            continue
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return found
