"""Retention policies of the key-value cache."""
