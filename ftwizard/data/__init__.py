"""Training data: files, formats, checks, conversion and splits."""
