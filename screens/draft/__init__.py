"""The wizard's answers and settings, without widgets."""

STEPS = ("Provider", "Data", "Recipe", "Estimate", "Review")
"""The wizard's steps as the top line names them; here, so that the first frame needs no page."""
