"""The estimate page."""
