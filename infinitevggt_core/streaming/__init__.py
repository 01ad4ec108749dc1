# SPDX-License-Identifier: Apache-2.0
"""Streaming sessions over the network and its memory."""
