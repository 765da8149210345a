"""Loading of base models, configurations and tokenizers.

Code that comes with a model is never run. transformers would ask for permission on standard input,
so ``trust_remote_code`` is always off.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.models import support
from ftwizard.plan.schema import Method
from ftwizard.text import make_visible

SUPPORTED = "Use a causal language model that transformers supports, with safetensors weights."


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import libraries without collecting garbage: nothing that they make is any."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_trainer() -> None:
    """Import TRL's trainer; collections leave out what the libraries made until then.

    Call it before a model is loaded, as that must be collected, and before memory is measured.
    """
    with importing():
        import trl.trainer.sft_trainer  # noqa: F401
    gc.freeze()


def read_config(base: Path) -> dict[str, Any]:
    """Return the model's configuration; raise FtwizardError if its weights are quantized."""
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    if error := support.check_quantized(config, str(base)):
        raise error
    return config


def has_experts(base: Path) -> bool:
    """Return whether a model routes tokens to experts, some of which a pass may leave unused."""
    config = read_config(base)
    return any("experts" in name for name in {*config, *(config.get("text_config") or {})})


def load_model(base: Path, precision: str) -> Any:
    """Load a base or merged model; raise FtwizardError if it cannot be loaded."""
    return _load(base, dtype=_dtype(precision))


def load_to_train(
    base: Path,
    method: Method,
    precision: str,
    attention: str | None = None,
    *,
    shards: bool = False,
    kernels: bool = False,
) -> Any:
    """Load the base model for training with ``method``, computing in ``precision``.

    ``shards``: several processes will share its weights; ``kernels``: layers are replaced by those of
    the Hub, by transformers' own list.
    """
    # A full fine-tune in 32 bit whatever the precision: bfloat16 has 8 significant bits, so that an
    # update of 2e-5 is lost in rounding for most weights. Autocast multiplies in 16 bit.
    options: dict[str, Any] = {"dtype": _dtype("fp32" if method == "full" else precision)}
    if attention:
        options["attn_implementation"] = attention
    if kernels:
        options["use_kernels"] = True
    if method != "qlora":
        return _load(base, **options)
    from transformers import BitsAndBytesConfig

    # QLoRA, Dettmers et al. 2023, section 3: NF4 with double quantization.
    options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_dtype(precision),
        # Integers cannot be sharded; with another type than the other weights', FSDP would convert
        # the packed bits, and the loss would be 0.
        **({"bnb_4bit_quant_storage": _dtype(precision)} if shards else {}),
    )
    if shards:  # one GPU may not hold the whole model
        options["device_map"] = {"": "cpu"}
    model = _load(base, **options)
    # At the first evaluation on AVX512-BF16, bitsandbytes 0.50 would repack weights. Its kernel for
    # these has no backward pass, but training continues with them: two thirds of the adapter's
    # tensors then silently get no gradient.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _dtype(precision: str) -> Any:
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def _load(base: Path, **options: Any) -> Any:
    with importing():
        import transformers.modeling_utils  # noqa: F401 (most of what a model's class imports)
        from transformers import AutoModelForCausalLM

    read_config(base)
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, use_safetensors=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError) as error:
        blames_attention = "attn_implementation" in options and "attention" in str(error)
        hint = "Set recipe.attention to auto." if blames_attention else SUPPORTED
        raise _load_error("model", base, error, hint) from error


def load_config(base: Path) -> Any:
    """Return transformers' configuration of a model.

    Raises FtwizardError if transformers does not support the model, or if it is an encoder.
    """
    try:
        with importing():
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _load_error("configuration", base, error, SUPPORTED) from error
    if refusal := support.check_encoder(config.to_dict(), str(base)):
        raise refusal
    return config


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model or an adapter; raise FtwizardError if it cannot be loaded."""
    try:
        with importing():
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # tokenizers' Rust code raises nothing narrower
        hint = "Use a tokenizer that transformers supports, such as a tokenizer.json."
        raise _load_error("tokenizer", folder, error, hint) from error


def without_weights(base: Path) -> Any:
    """Return the model without weights, on torch's ``meta`` device; errors as in ``load``."""
    import torch
    from transformers import AutoModelForCausalLM

    read_config(base)
    auto: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            return auto.from_config(load_config(base), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _load_error("model", base, error, SUPPORTED) from error


def _load_error(part: str, folder: Path, error: Exception, hint: str) -> FtwizardError:
    shown = make_visible(str(folder))
    if "trust_remote_code" in str(error):  # transformers' message about custom code
        return FtwizardError(
            f"The {part} in {shown} needs custom code (auto_map in its files), which ftwizard never "
            "runs.",
            "Choose a model that transformers supports without custom code.",
        )
    message = make_visible((str(error).splitlines() or [type(error).__name__])[0], 300)
    return FtwizardError(f"The {part} in {shown} could not be loaded: {message}", hint)


def read_stop_ids(base: Path) -> set[int]:
    """Return the tokens that end generation, from the model's configuration files."""
    ids: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        try:
            value = json.loads((base / file).read_text()).get("eos_token_id")
        except (OSError, ValueError):
            continue
        ids.update(value if isinstance(value, list) else [] if value is None else [value])
    return ids
