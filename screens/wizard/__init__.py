"""The wizard, a folder for each of its larger pages."""

STEPS = ("Provider", "Data", "Recipe", "Estimate", "Review")
"""The steps as the top line names them; here, so that the first frame needs no page."""
