"""User interface: one screen per file, imported as ``ftwizard.screens``."""
