"""The wizard, a folder for each of its larger pages."""
