"""ftwizard: fine-tune an LLM from your terminal, then evaluate it, merge it and serve it."""

__version__ = "0.1.0"
