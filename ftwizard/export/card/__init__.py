"""The model card of a run: text and metadata for the Hugging Face Hub, from the record."""
