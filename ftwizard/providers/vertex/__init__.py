"""Google Vertex AI by its official SDKs: uploads to a bucket, tuning jobs, and open models' weights."""
