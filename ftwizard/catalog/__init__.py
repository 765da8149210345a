"""What is known without asking anyone, from ``assets/*.toml``: every entry dated and sourced."""
