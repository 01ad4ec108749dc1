# SPDX-License-Identifier: Apache-2.0
"""Memory of a stream does not grow with its length."""

import gc
import weakref
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, StreamSession
from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory import (
    POLICIES,
    CacheShape,
    KVCache,
    TokenStore,
    allocate_budget,
    camera_policy,
    token_policy,
)
from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.precision import precision_of
from infinitevggt_core.memory.stream_memory import CAMERA_PRECISION
from infinitevggt_core.model.heads.camera_head import ITERATIONS
from support.core_samples import (
    EVICTING,
    FRAMES,
    FULL,
    HEIGHT,
    IMPORTANCE,
    SMALL,
    SMALLEST,
    TOKENS,
    TRAJECTORY,
    WIDTH,
    WINDOW,
    small_model,
)

SMALLER = replace(SMALL, depth=2, dpt_layers=(0, 0, 1, 1))

BOUNDED = {
    "diversity": EVICTING,
    "diversity, shared camera memory": replace(EVICTING, camera_memory="shared"),
    "window": WINDOW,
    "frames": FRAMES,
    "importance": IMPORTANCE,
    "trajectory": TRAJECTORY,
    "no anchors": replace(EVICTING, anchor_frames=0),
}
PER_TOKEN = 2 * SMALL.embed_dim * 4 + SMALL.num_heads * (4 + 4)
"""Bytes of a token in a layer: key and value, and per head its frame and metadata."""
SHAPE = CacheShape(SMALL.depth, TOKENS, special_tokens=SMALL.special_tokens)
EARLY, LATE = 200, 600
LEAK = 0.5
"""New containers a frame anywhere in the process; a leak would be one at least."""


def push_noise(session: StreamSession, count: int, generator: torch.Generator) -> None:
    for _ in range(count):
        session.push(torch.rand(3, HEIGHT, WIDTH, generator=generator))


def references_held_by(session: StreamSession) -> int:
    """References inside everything that only the session holds."""
    pending, seen, count = [vars(session)], {id(session.model)}, 0
    while pending:
        holder = pending.pop()
        if id(holder) in seen or isinstance(holder, type | ModuleType | torch.Tensor):
            continue
        seen.add(id(holder))
        inside = gc.get_referents(holder)
        count += len(inside)
        pending.extend(inside)
    return count


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_policy_is_either_bounded_here_or_says_that_it_is_not() -> None:
    bounded = {memory.policy for memory in BOUNDED.values()}
    unbounded = {
        name
        for name in POLICIES
        if token_policy(MemoryConfig(policy=name)).capacity(SHAPE) >= UNLIMITED
    }
    assert bounded | unbounded == set(POLICIES)
    assert unbounded == {"full"}


@pytest.mark.parametrize("name", BOUNDED)
def test_bytes_and_objects_stay_as_they_are(name: str, generator: torch.Generator) -> None:
    session = StreamSession(small_model(config=SMALLER), BOUNDED[name])
    push_noise(session, EARLY, generator)
    held, tokens = session.memory_bytes, sum(session.stored_tokens)
    references = references_held_by(session)
    gc.collect()
    objects = len(gc.get_objects())
    push_noise(session, LATE - EARLY, generator)
    gc.collect()

    assert session.memory_bytes == held
    lost_to_rounding = abs(sum(session.stored_tokens) - tokens)  # shares are whole tokens
    assert lost_to_rounding < SMALLER.depth
    assert references_held_by(session) == references
    assert len(gc.get_objects()) - objects < LEAK * (LATE - EARLY)


def test_three_thousand_frames_hold_the_bytes_of_two_hundred(generator: torch.Generator) -> None:
    """Pin frames and re-anchor on the way."""
    session = StreamSession(small_model(config=SMALLER), replace(EVICTING, total_budget=150))
    held = 0
    for _ in range(10):
        push_noise(session, EARLY, generator)
        held = held or session.memory_bytes
        assert session.memory_bytes == held
        session.pin()
        push_noise(session, 99, generator)
        session.reanchor()
        push_noise(session, 1, generator)


def test_the_camera_memory_of_the_default_settings_is_full_by_frame_200() -> None:
    """The camera cache is the only one whose bound does not depend on the image size."""
    config = MemoryConfig()
    memory = KVCache(2, camera_policy(config), CAMERA_PRECISION, Anchors())
    token = torch.zeros(1, 1, 1, 4)
    held = []
    for frame in range(LATE):
        memory.begin_frame(frame, 1)
        for layer in range(2):
            memory.append(layer, token, token)
            memory.get(layer)
        memory.end_frame()
        held.append(memory.nbytes)
    assert held[EARLY] == held[-1]
    assert memory.lengths == [config.anchor_frames + config.camera_frames] * 2


@pytest.mark.parametrize("camera_memory", ["per_iteration", "shared"])
def test_the_camera_memory_is_bounded(
    model: VGGT, camera_memory: str, generator: torch.Generator
) -> None:
    memory = replace(EVICTING, camera_memory=camera_memory, camera_frames=4)
    session = StreamSession(model, memory)
    push_noise(session, 12, generator)
    kept = session.segment.memory.camera.frames(0)
    per_frame = ITERATIONS if camera_memory == "shared" else 1
    assert kept.flatten().unique().tolist() == [0, 8, 9, 10, 11]
    assert kept.shape[-1] == 5 * per_frame


def test_storage_grows_towards_a_huge_budget_and_is_not_allocated_at_once(
    model: VGGT, generator: torch.Generator
) -> None:
    session = StreamSession(model, MemoryConfig(total_budget=10**9))
    per_frame = SMALL.depth * TOKENS * PER_TOKEN
    for pushed in range(1, 30):
        push_noise(session, 1, generator)
        tokens_alone = session.memory_bytes - session.segment.memory.camera.nbytes
        assert tokens_alone <= 2 * (pushed + 1) * per_frame
    assert session.stored_tokens == [29 * TOKENS] * SMALL.depth


def test_storage_never_passes_the_budget_and_one_frame(
    model: VGGT, generator: torch.Generator
) -> None:
    session = StreamSession(model, EVICTING)
    for _ in range(30):
        push_noise(session, 1, generator)
        tokens_alone = session.memory_bytes - session.segment.memory.camera.nbytes
        assert tokens_alone <= (EVICTING.total_budget + SMALL.depth * TOKENS) * PER_TOKEN


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_bytes_are_those_of_the_tokens_within_five_percent(
    model: VGGT, dtype: str, generator: torch.Generator
) -> None:
    """Use 25 frames per layer, as the default budget holds of the published model."""
    memory = MemoryConfig(total_budget=25 * SMALL.depth * TOKENS, dtype=dtype)
    session = StreamSession(model, memory)
    push_noise(session, 40, generator)
    precision = precision_of(dtype, model.dtype)
    head_dim = SMALL.embed_dim // SMALL.num_heads
    per_token = TokenStore.bytes_per_token(SMALL.num_heads, head_dim, precision)
    held = session.memory_bytes - session.segment.memory.camera.nbytes
    tokens = sum(session.stored_tokens)
    assert tokens > memory.total_budget - SMALL.depth
    assert tokens * per_token <= held <= 1.05 * tokens * per_token


@pytest.mark.parametrize("before", [replace(EVICTING, total_budget=20 * SMALLEST), FULL])
def test_memory_shrinks_with_the_budget(
    model: VGGT, before: MemoryConfig, generator: torch.Generator
) -> None:
    session = StreamSession(model, before)
    push_noise(session, 30, generator)
    held = session.memory_bytes
    session.configure(EVICTING)
    push_noise(session, 1, generator)
    assert session.memory_bytes < held / 3
    fresh = StreamSession(model, EVICTING)
    push_noise(fresh, 31, generator)
    assert session.memory_bytes <= fresh.memory_bytes


def test_layer_budgets_keep_to_their_bounds(model: VGGT, generator: torch.Generator) -> None:
    memory = replace(EVICTING, total_budget=SMALLEST + 5)
    session = StreamSession(model, memory)
    floor = (1 + memory.anchor_frames) * TOKENS
    for _ in range(40):
        budgets = allocate_budget(
            memory.total_budget, (session.layer_similarity or [[0.0] * 4])[0], floor
        )
        assert min(budgets) >= floor
        assert sum(budgets) <= memory.total_budget
        push_noise(session, 1, generator)
        assert all(n <= budget for n, budget in zip(session.stored_tokens, budgets, strict=True))


def test_the_pushed_image_and_the_prediction_are_not_kept(
    model: VGGT, generator: torch.Generator
) -> None:
    session = StreamSession(model, EVICTING)
    push_noise(session, 20, generator)
    image = torch.rand(3, HEIGHT, WIDTH, generator=generator)
    prediction = session.push(image)
    alive = [weakref.ref(thing) for thing in (image, prediction.depth, prediction.pose_encoding)]
    del image, prediction
    gc.collect()
    assert [thing() for thing in alive] == [None] * 3


def test_the_defaults_fit_the_published_model() -> None:
    published = ModelConfig()
    MemoryConfig().check_budget(published.depth, 5 + 28 * 37)
