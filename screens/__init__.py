"""What a person sees: one screen a file, imported as ``ftwizard.screens``."""
