"""User interface in Textual, imported as ``ftwizard.screens``."""
