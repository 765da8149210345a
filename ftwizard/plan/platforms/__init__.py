"""Checks of the settings of each hosted platform, one module a platform."""
