# SPDX-License-Identifier: Apache-2.0
"""Streaming without ROS: sources of images, a stream, the files of a run, and their export."""
