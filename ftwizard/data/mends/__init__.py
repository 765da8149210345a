"""What can be mended honestly: one kind of damage a file, each change said in its own words."""
