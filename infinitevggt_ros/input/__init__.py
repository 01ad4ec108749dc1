"""From image messages to the network's images."""
