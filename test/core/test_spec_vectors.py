# SPDX-License-Identifier: Apache-2.0
"""Numbers of the released implementation with a deterministic fill of the weights."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from infinitevggt_core import VGGT, MemoryConfig, ModelConfig, StreamSession
from infinitevggt_core.memory import allocate_budget, token_policy
from infinitevggt_core.model.aggregator import IMAGE_MEAN, IMAGE_STD, Aggregator
from infinitevggt_core.model.attention import batch_attention
from infinitevggt_core.model.encoder import DinoV2
from infinitevggt_core.model.geometry import rotation_from_quaternion
from infinitevggt_core.model.heads.camera_head import ITERATIONS, CameraHead
from infinitevggt_core.model.heads.dense_head import DenseHead, position_features
from infinitevggt_core.model.heads.track_head import RADIUS, TrackHead, correlate
from infinitevggt_core.model.rope import rotation_at
from support.core_samples import (
    assert_close,
    deterministic_frames,
    deterministic_values,
    fill_deterministically,
    make_cache,
    view_of,
)

PRINTED = 1e-5
"""The numbers were printed with six digits."""
SMALL_CONFIG = ModelConfig(
    img_size=84,
    embed_dim=64,
    depth=4,
    num_heads=4,
    patch_embed="conv",
    camera_trunk_depth=4,
    camera_num_heads=16,
    dpt_features=32,
    dpt_out_channels=(16, 32, 64, 64),
    dpt_layers=(0, 1, 2, 3),
)
"""The small config "SC"."""
LAYERS = (0, 1, 2, 3)


Vector = tuple[float, float, tuple[float, ...], float]


def check_vector(got: Tensor, vector: Vector) -> None:
    """Mean, root mean square, first four and last value of the flattened tensor."""
    flat = got.flatten().double()
    mean, rms, first, last = vector
    numbers = torch.stack((flat.mean(), flat.square().mean().sqrt(), *flat[:4], flat[-1]))
    want = torch.tensor([mean, rms, *first, last], dtype=torch.float64)
    assert_close(numbers, want, PRINTED, "mean, rms, first four, last")


@pytest.fixture(scope="module")
def aggregator() -> Aggregator:
    module = Aggregator(SMALL_CONFIG).requires_grad_(False)
    fill_deterministically(module)
    return module


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """[1, 6, 3, 56, 84]."""
    return deterministic_frames(6, 56, 84)


@pytest.fixture(scope="module")
def causal(aggregator: Aggregator, clip: Tensor) -> dict[int, Tensor]:
    """Tokens of every layer under the causal mask: G2."""
    return aggregator(clip, ignore_layer(batch_attention("causal", 6, 0)), LAYERS)


def ignore_layer(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda _layer, q, k, v: attend(q, k, v)


def test_the_deterministic_fill_is_that_of_the_spec() -> None:
    want = torch.tensor([0.25991518, 0.43560487, 0.54525074])
    assert_close(torch.from_numpy(deterministic_values(3, 0)), want, 1e-7)


def test_g1_dinov2_gives_the_normalised_patch_tokens(clip: Tensor) -> None:
    encoder = DinoV2(518, 14, 384).requires_grad_(False)
    fill_deterministically(encoder)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGE_MEAN, IMAGE_STD))
    tokens = encoder((clip[0, :1] - mean) / std)
    first = (-0.848549, -1.174395, -0.183949, -0.368812)
    check_vector(tokens, (0.006925, 1.063161, first, -2.103976))


def test_g2_causal_attention(causal: dict[int, Tensor]) -> None:
    first = (-0.178099, -0.071097, 0.094152, 0.234937)
    check_vector(causal[3], (0.060509, 1.296805, first, -2.635659))


def test_g2b_causal_attention_of_an_inner_layer(causal: dict[int, Tensor]) -> None:
    first = (0.522111, 0.255041, -0.326986, -0.367888)
    check_vector(causal[1][:, 5], (0.071182, 1.294140, first, -1.701431))


def test_g3_full_attention(aggregator: Aggregator, clip: Tensor) -> None:
    levels = aggregator(clip, ignore_layer(batch_attention("full", 6, 0)), LAYERS)
    first = (-0.059895, -0.187750, 0.054819, 0.272974)
    check_vector(levels[3], (0.059050, 1.297224, first, -2.629742))


def test_g4_streaming_under_a_budget(aggregator: Aggregator, clip: Tensor) -> None:
    lengths = {
        0: [29] * 4,
        1: [58] * 4,
        2: [64] * 4,
        3: [60, 63, 63, 68],
        4: [60, 62, 63, 68],
        5: [61, 64, 63, 66],
    }
    scores = {
        2: (0.211139, 0.182880, 0.184913, 0.142866),
        5: (0.121030, 0.094870, 0.104512, 0.074212),
    }
    memory = MemoryConfig(policy="diversity", total_budget=256)
    cache = make_cache(len(LAYERS), memory)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache.append(layer, k, v)
        cache.evict(layer)
        return nn.functional.scaled_dot_product_attention(q, *cache.get(layer))

    for t in range(6):
        cache.begin_frame(t, tokens_per_frame=29)
        levels = aggregator(clip[:, t : t + 1], attend, LAYERS, start_frames=int(t == 0))
        cache.end_frame()
        assert cache.lengths == lengths[t]
        if t in scores:
            assert_close(
                torch.tensor(cache.similarities), torch.tensor(scores[t]), PRINTED, "scores"
            )

    first = (0.030049, 0.137974, -0.318331, -0.173210)
    check_vector(levels[3], (0.077814, 1.322159, first, -2.536646))
    check_keys(cache.get(3)[0])


def check_keys(keys: Tensor) -> None:
    """G4k: the key cache of layer 3, in whatever order the store holds its tokens."""
    numbers = torch.stack((keys.mean(), keys.square().mean().sqrt()))
    assert_close(numbers, torch.tensor([-0.038685, 1.004068]), PRINTED, "mean, rms of the keys")
    first = torch.tensor([1.433439, -0.108892, 0.397533, 0.983573])
    nearest = (keys[0, 0, :, :4] - first).abs().amax(dim=-1).min()
    assert nearest <= PRINTED, f"no key of head 0 begins with {first}; the nearest is {nearest} off"
    nearest = (keys[0, -1, :, -1] - 0.483223).abs().min()
    assert nearest <= PRINTED, f"no key of the last head ends as it should; {nearest} off"


@pytest.fixture(scope="module")
def camera_head() -> CameraHead:
    module = CameraHead(SMALL_CONFIG).requires_grad_(False)
    fill_deterministically(module)
    return module


def test_g5_causal_camera_head(camera_head: CameraHead, causal: dict[int, Tensor]) -> None:
    deltas: list[Tensor] = []
    hook = camera_head.pose_branch.register_forward_hook(lambda *args: deltas.append(args[2]))
    attend = batch_attention("causal", 6, 0)
    pose = camera_head(causal[3], lambda _iteration, _block, q, k, v: attend(q, k, v))
    hook.remove()
    first = (-0.748742, 0.491572, 0.530805, 0.456179, 0.677642, -0.347154, 0.310166, 0.172833, 0)
    got = torch.cat((deltas[0][0, 5, :7], deltas[0][0, 5, 7:].relu()))
    assert_close(got, torch.tensor(first), PRINTED, "after iteration 0")
    last = (-2.234856, 2.489283, 1.456648, 2.212488, 2.672946, -2.557898, 0.798309, 2.126325, 0)
    assert_close(pose[0, 5], torch.tensor(last), PRINTED, "after iteration 3")


@pytest.mark.parametrize(
    ("camera_memory", "want"),
    [
        (
            "per_iteration",
            (-2.234856, 2.489283, 1.456648, 2.212488, 2.672946, -2.557898, 0.798309, 2.126325, 0),
        ),
        (
            "shared",
            (-2.097495, 2.464102, 1.506933, 2.120185, 2.653576, -2.575598, 0.773341, 1.880495, 0),
        ),
    ],
)
def test_g5_streamed_camera_head(
    camera_memory: str, want: tuple[float, ...], aggregator: Aggregator, clip: Tensor
) -> None:
    model = VGGT(SMALL_CONFIG).requires_grad_(False)
    model.aggregator.load_state_dict(aggregator.state_dict())
    fill_deterministically(model.camera_head)
    session = StreamSession(model, MemoryConfig(policy="full", camera_memory=camera_memory))
    poses = [session.push(frame).pose_encoding for frame in clip[0]]
    assert_close(poses[5][0], torch.tensor(want), PRINTED, camera_memory)


def test_g6_depth_head(causal: dict[int, Tensor]) -> None:
    head = DenseHead(SMALL_CONFIG, output_dim=2, activation="exp").requires_grad_(False)
    fill_deterministically(head)
    depth, confidence = head(causal, (56, 84))
    assert depth.shape == (1, 6, 56, 84, 1)
    first = (0.846382, 0.781549, 0.760809, 0.702646)
    check_vector(depth, (1.039031, 1.115854, first, 1.690028))
    first = (2.372497, 2.405803, 2.219197, 2.055349)
    check_vector(confidence, (1.811362, 1.833755, first, 2.115755))


def test_g6_point_head(causal: dict[int, Tensor]) -> None:
    head = DenseHead(SMALL_CONFIG, output_dim=4, activation="inv_log").requires_grad_(False)
    fill_deterministically(head)
    points, confidence = head(causal, (56, 84))
    assert points.shape == (1, 6, 56, 84, 3)
    first = (-0.181500, 0.372497, -0.621207, -0.279510)
    check_vector(points, (0.337816, 1.128847, first, -0.031075))
    first = (3.172436, 3.573267, 3.739557, 3.809755)
    check_vector(confidence, (3.999261, 4.080560, first, 2.539859))


def test_g7_track_head(aggregator: Aggregator) -> None:
    size = (140, 154)
    attend = ignore_layer(batch_attention("causal", 3, 0))
    levels = aggregator(deterministic_frames(3, *size), attend, LAYERS)
    head = TrackHead(SMALL_CONFIG).requires_grad_(False)
    fill_deterministically(head)
    head.tracker.updateformer.flow_head.weight[:2] = 0
    head.tracker.updateformer.flow_head.bias[:2] = torch.tensor([0.25, -0.125])

    features = head.feature_maps(levels, size)
    assert features.shape == (1, 3, 128, 70, 77)
    first = (-0.828802, -1.029968, -0.865948, -0.680027)
    check_vector(features, (-0.136305, 1.765726, first, 0.115213))

    queries = torch.tensor([[[20.5, 31.25], [77.0, 60.0], [150.0, 3.0]]])
    tracks, visibility, confidence = head(levels, size, queries)
    assert torch.equal(tracks[:, 0], queries)
    assert_close(tracks[0, 2], torch.tensor([[22.5, 30.25], [79, 59], [152, 2]]), PRINTED, "track")
    seen = ((0.873535, 0.886546, 0.857106), (0.869447, 0.886377, 0.846769))
    want = torch.tensor([*seen, (0.876302, 0.884809, 0.844480)])
    assert_close(visibility[0], want, PRINTED, "visibility")
    sure = ((0.777936, 0.837433, 0.589461), (0.757826, 0.827524, 0.592786))
    want = torch.tensor([*sure, (0.755140, 0.827058, 0.586796)])
    assert_close(confidence[0], want, PRINTED, "confidence")


@pytest.mark.parametrize(("size", "works"), [((140, 140), True), ((126, 140), False)])
def test_tracks_need_seven_levels_of_features(size: tuple[int, int], works: bool) -> None:
    head = TrackHead(SMALL_CONFIG).requires_grad_(False)
    tokens = torch.randn(1, 1, 5 + (size[0] // 14) * (size[1] // 14), 2 * SMALL_CONFIG.embed_dim)
    levels, queries = dict.fromkeys(LAYERS, tokens), torch.tensor([[[20.0, 30.0]]])
    if works:
        assert torch.equal(head(levels, size, queries)[0], queries[:, None])
    else:
        with pytest.raises(ValueError, match="tracks need images of 128 px"):
            head(levels, size, queries)


def test_t1_rotary_embedding() -> None:
    rotate = rotation_at(torch.tensor([[2, 3]]), 8, torch.device("cpu"), torch.float32)
    want = (-3.144039, 1.165456, -0.339143, 4.317605, -5.937803, 3.367857, -6.224347, 9.415813)
    assert_close(rotate(torch.arange(1.0, 9.0)[None])[0], torch.tensor(want), PRINTED)


def test_t1_special_tokens_are_not_rotated() -> None:
    rotate = rotation_at(torch.zeros(5, 2), 8, torch.device("cpu"), torch.float32)
    vectors = torch.randn(5, 8)
    assert torch.equal(rotate(vectors), vectors)


def test_t2_positional_map() -> None:
    across, down = position_features(2, 3, 8, image_size=(100, 150))
    features = torch.cat((across.expand(4, 2, 3), down.expand(4, 2, 3)))
    want = (-0.526688, -0.055442, 0.850058, 0.998462, -0.273808, -0.027731, 0.961784, 0.999615)
    assert_close(features[:, 0, 0], torch.tensor(want), PRINTED)
    flipped = torch.tensor([-1, -1, 1, 1, -1, -1, 1, 1]) * torch.tensor(want)
    assert_close(features[:, 1, 2], flipped, PRINTED)


def test_t3_budgets() -> None:
    assert allocate_budget(1000, [0.2, 0.5, 0.8], floor=0) == [540, 296, 162]


def test_t4_eviction() -> None:
    angles = torch.tensor([0.0, 0, 10, 20, 30, 90, 100]).deg2rad()
    norms = torch.tensor([1.0, 2, 3, 1, 1, 1, 2])
    keys = torch.stack((angles.cos(), angles.sin()), dim=-1) * norms[:, None]
    memory = MemoryConfig(policy="diversity")
    view, policy = view_of(keys[None, None, :, None], memory, 3), token_policy(memory)
    gone = policy.choose(view)
    assert set(range(7)) - set(gone.flatten().tolist()) == {0, 1, 5, 6}
    assert abs(policy.similarity(view) - 0.613463) <= PRINTED


def test_t5_quaternion() -> None:
    want = (
        (0.726316, -0.526316, 0.442105),
        (0.610526, 0.789474, -0.063158),
        (-0.315789, 0.315789, 0.894737),
    )
    got = rotation_from_quaternion(torch.tensor([0.1, 0.2, 0.3, 0.9]))
    assert_close(got, torch.tensor(want), PRINTED)


def test_t6_inverse_log(monkeypatch: pytest.MonkeyPatch) -> None:
    head = DenseHead(SMALL_CONFIG, output_dim=4, activation="inv_log")
    raw = torch.tensor([-1.0, 0.5, 0.0, 0.0]).view(1, 4, 1, 1)
    monkeypatch.setattr(head, "_maps", lambda _levels, _size: raw)
    points, confidence = head({0: torch.zeros(1, 1, 1, 1)}, (1, 1))
    assert_close(points.flatten(), torch.tensor([-1.718282, 0.648721, 0]), PRINTED)
    assert confidence.item() == 2


def test_t7_correlation() -> None:
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    maps = (20 * y + x).view(1, 1, 1, 16, 16)
    found = correlate([maps], torch.tensor([[[[5.0, 7.0]]]]), torch.ones(1, 1, 1, 1))
    window = found.view(2 * RADIUS + 1, 2 * RADIUS + 1)
    nearest = window[RADIUS - 1 : RADIUS + 2, RADIUS - 1 : RADIUS + 2]
    want = torch.tensor([[124.0, 144, 164], [125, 145, 165], [126, 146, 166]])
    assert_close(nearest, want, 1e-3)


def test_every_iteration_feeds_back_the_encoding_before_its_activation(
    camera_head: CameraHead, causal: dict[int, Tensor]
) -> None:
    fed: list[Tensor] = []
    deltas: list[Tensor] = []
    hooks = [
        camera_head.embed_pose.register_forward_hook(lambda *args: fed.append(args[1][0])),
        camera_head.pose_branch.register_forward_hook(lambda *args: deltas.append(args[2])),
    ]
    attend = batch_attention("causal", 6, 0)
    camera_head(causal[3], partial(lambda _iteration, _block, q, k, v: attend(q, k, v)))
    for hook in hooks:
        hook.remove()
    assert len(fed) == ITERATIONS
    for iteration in range(1, ITERATIONS):
        assert_close(fed[iteration], sum(deltas[:iteration]), PRINTED)
    assert (fed[1][..., 7:] < 0).any(), "the case must tell raw encodings from activated ones"
