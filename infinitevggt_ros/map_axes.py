# SPDX-License-Identifier: Apache-2.0
"""Axes of a ROS map (x forward, z up; REP-103), without ROS."""

import numpy as np

MAP_FROM_WORLD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
"""4 x 4: axes of a level first camera to the map's (right is -y, down is -z, forward is x)."""
