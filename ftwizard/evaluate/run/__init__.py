"""The evaluation of a run: its base model before the first step, the tuned model at the end."""
