# SPDX-License-Identifier: Apache-2.0
"""Estimates of the metric scale of a stream."""
