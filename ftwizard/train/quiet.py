"""Libraries told not to talk about what a person cannot change."""

from __future__ import annotations

import logging
import os
import warnings


def libraries() -> None:
    """Silence deprecations inside the libraries themselves, and a kernel that is optional."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\b")
    # Without a package that fetches kernels from the Hub it says so on every import, on CPUs.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def fakes() -> None:
    """Keep torch from printing a traceback for an operation that fakes cannot do: it is told."""
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
