# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the ROS package sensor_msgs_py, which PyPI lacks; only what infinitevggt_ros calls.

That is the module point_cloud2.
"""
