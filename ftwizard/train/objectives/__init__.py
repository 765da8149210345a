"""Builders of TRL's trainers: one module for each training objective."""
