# SPDX-License-Identifier: Apache-2.0
"""Conversion of results to messages and transforms, and their publication."""
