"""Heads of the network: camera, depth and points, tracks."""
