"""Training clips from bags."""
