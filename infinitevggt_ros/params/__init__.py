"""Settings and ROS parameters."""
