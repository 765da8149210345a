"""The wizard pages of hosted platforms."""
