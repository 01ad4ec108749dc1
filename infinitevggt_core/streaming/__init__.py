"""Streaming sessions over the network and its memory."""
