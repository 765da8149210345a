"""Jobs: a folder each, with its lock, keeper, requests and events."""
