# SPDX-License-Identifier: Apache-2.0
"""Retention policies of the key-value cache."""
