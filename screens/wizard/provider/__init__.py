"""The provider page."""
