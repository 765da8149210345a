"""Secrets and personal data: rules, detection, redaction."""
