"""A job is a folder that only grows: its lock, its keeper, its requests and its events."""
