# SPDX-License-Identifier: Apache-2.0
"""Conversion of image messages to images of the network."""
