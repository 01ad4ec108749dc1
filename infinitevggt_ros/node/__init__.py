"""The ROS node, its worker thread, services and status."""
