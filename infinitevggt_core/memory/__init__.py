# SPDX-License-Identifier: Apache-2.0
"""The bounded, evicting key-value memory of a stream."""

from infinitevggt_core.memory.budget import split_budget
from infinitevggt_core.memory.config import MemoryConfig
from infinitevggt_core.memory.kv_cache import RollingMemory
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register
from infinitevggt_core.memory.policies.registry import POLICIES, camera_policy, token_policy
from infinitevggt_core.memory.token_store import TokenStore

__all__ = [
    "POLICIES",
    "LayerView",
    "MemoryConfig",
    "RetentionPolicy",
    "RollingMemory",
    "TokenStore",
    "camera_policy",
    "register",
    "split_budget",
    "token_policy",
]
