"""The plan: everything the user decided, as one immutable value and one YAML file."""
