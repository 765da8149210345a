"""Suppression of library warnings that a user cannot act on."""

from __future__ import annotations

import logging
import os
import warnings


def silence_libraries() -> None:
    """Silence deprecations within the libraries, and warnings about an optional kernel."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\b")
    # On CPUs it warns at every import if the package that downloads kernels is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def silence_fake_tensors() -> None:
    """Keep torch from printing a traceback for operations that fake tensors do not support."""
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
