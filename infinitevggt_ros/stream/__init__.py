# SPDX-License-Identifier: Apache-2.0
"""A stream: images in, results out, with scale, gravity and state."""
