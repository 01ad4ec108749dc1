"""Bounded fused point map."""
