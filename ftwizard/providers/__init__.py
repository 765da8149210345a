"""Hosted platforms: one protocol, one module a platform, and the follower of their jobs."""
