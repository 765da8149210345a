"""The table of costs, and the prices it asks for."""
