"""The home screen and what opens from it."""
