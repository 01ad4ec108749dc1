# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 1 and ROS 2 messages: read, write, record, and play on live topics."""
