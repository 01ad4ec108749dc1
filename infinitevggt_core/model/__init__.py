"""The network: weights only, no state of any stream."""
