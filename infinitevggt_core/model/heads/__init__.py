# SPDX-License-Identifier: Apache-2.0
"""Heads of the network: camera, depth and points, tracks."""
