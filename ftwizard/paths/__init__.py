"""Where a plan is carried out: one module a path."""
