"""Together by its official SDK: uploads, jobs, their metrics, adapters and dedicated endpoints."""
