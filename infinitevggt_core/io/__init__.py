# SPDX-License-Identifier: Apache-2.0
"""Files and facts of the machine: point clouds, trajectories, time stamps, atomic writes."""
