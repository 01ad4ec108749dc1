# SPDX-License-Identifier: Apache-2.0
"""Demonstration: play a bag through the node and compare the result with the truth."""
