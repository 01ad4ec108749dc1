# SPDX-License-Identifier: Apache-2.0
"""The ROS node, its worker thread, services and status."""
