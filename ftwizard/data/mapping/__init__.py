"""Column mappings: rows of no known format, read through the names of their columns."""
