"""From a file's bytes to its rows: what ``container`` and ``records`` are made of."""
