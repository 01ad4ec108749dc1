# SPDX-License-Identifier: Apache-2.0
"""Tracking of plain images: camera poses by optical flow and bundle adjustment, and a map."""
