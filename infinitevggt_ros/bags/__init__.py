"""Bags of ROS 2 messages: reading, writing, recording, and playing them onto live topics."""
