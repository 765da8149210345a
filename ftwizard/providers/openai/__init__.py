"""OpenAI's fine-tuning API by its official SDK; Foundry speaks it as well."""
