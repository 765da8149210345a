"""Jobs: a folder that only grows, with its lock, keeper, requests and events."""
