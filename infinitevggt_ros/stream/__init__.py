"""A stream: images in, results out, with scale, gravity and state."""
