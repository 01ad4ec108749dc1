# SPDX-License-Identifier: Apache-2.0
"""Bounded, evicting key-value memory of a stream."""

from infinitevggt_core.memory.budget import Budget, CacheShape, allocate_budget
from infinitevggt_core.memory.config import MemoryConfig, camera_policy, token_policy
from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register
from infinitevggt_core.memory.policies.registry import POLICIES
from infinitevggt_core.memory.token_store import TokenStore

__all__ = [
    "POLICIES",
    "Budget",
    "CacheShape",
    "KVCache",
    "LayerView",
    "MemoryConfig",
    "RetentionPolicy",
    "TokenStore",
    "allocate_budget",
    "camera_policy",
    "register",
    "token_policy",
]
