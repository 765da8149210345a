"""HTTP transports under the openai package, for platforms whose models are asked by an SDK of their own."""
