# SPDX-License-Identifier: Apache-2.0
"""From image messages to the network's images."""
