# SPDX-License-Identifier: Apache-2.0
"""Bounded fused point map."""
