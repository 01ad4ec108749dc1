# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 2 messages: reading, writing, recording, and playing them onto live topics."""
