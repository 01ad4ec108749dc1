"""Estimates of the metric scale of a stream."""
