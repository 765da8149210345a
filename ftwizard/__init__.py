"""ftwizard: fine-tune an LLM from your terminal, compare it with its base model, and merge it."""

__version__ = "0.1.0"
