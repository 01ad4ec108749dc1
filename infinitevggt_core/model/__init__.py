# SPDX-License-Identifier: Apache-2.0
"""The network: weights only, no state of any stream."""
