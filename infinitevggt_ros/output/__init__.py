"""From a frame's result to messages and transforms."""
