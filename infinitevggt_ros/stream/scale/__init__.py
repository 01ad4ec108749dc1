"""Sources of the metric scale."""
