# SPDX-License-Identifier: Apache-2.0
"""The network has the parameters that the published checkpoints hold."""

from collections import Counter

import pytest
import torch
from torch import nn

from infinitevggt_core import VGGT, ModelConfig
from infinitevggt_core.model.encoder import DinoV2
from support.core_samples import SMALL


def on_meta(config: ModelConfig) -> VGGT:
    with torch.device("meta"):
        return VGGT(config)


@pytest.fixture(scope="module")
def published() -> VGGT:
    """StreamVGGT and VGGT-1B, without its numbers."""
    return on_meta(ModelConfig(track=True))


def parameters(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


def test_parameter_counts_are_those_of_the_published_model(published: VGGT) -> None:
    parts = {
        "aggregator.patch_embed": 304_372_736,
        "aggregator.frame_blocks": 302_364_672,
        "aggregator.global_blocks": 302_364_672,
        "aggregator": 909_112_320,
        "camera_head": 216_174_610,
        "camera_head.trunk": 4 * 50_362_368,
        "point_head": 32_654_628,
        "depth_head": 32_654_562,
        "track_head": 65_941_396,
        "track_head.feature_extractor": 22_834_048,
        "track_head.tracker": 43_107_348,
        "": 1_256_537_516,
    }
    assert {part: parameters(published.get_submodule(part)) for part in parts} == parts


@pytest.mark.parametrize(
    ("width", "count"), [(384, 22_058_112), (768, 86_583_552), (1024, 304_372_736)]
)
def test_parameter_counts_of_the_encoders(width: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(DinoV2(518, 14, width)) == count


def test_key_counts_are_those_of_the_published_model(published: VGGT) -> None:
    keys = published.state_dict()
    assert len(keys) == 1797
    assert Counter(key.split(".")[0] for key in keys) == {
        "aggregator": 1210,
        "camera_head": 69,
        "point_head": 62,
        "depth_head": 62,
        "track_head": 394,
    }


def test_stream3r_has_the_same_keys_but_no_track_head(published: VGGT) -> None:
    keys = on_meta(ModelConfig()).state_dict()
    assert len(keys) == 1403
    assert set(keys) == {key for key in published.state_dict() if not key.startswith("track_head")}
    assert sum(tensor.numel() for tensor in keys.values()) == 1_190_596_120


def test_there_are_no_buffers(published: VGGT) -> None:
    assert list(published.buffers()) == []


SHAPES = {
    "aggregator.camera_token": (1, 2, 1, 1024),
    "aggregator.register_token": (1, 2, 4, 1024),
    "aggregator.patch_embed.cls_token": (1, 1, 1024),
    "aggregator.patch_embed.pos_embed": (1, 1370, 1024),
    "aggregator.patch_embed.register_tokens": (1, 4, 1024),
    "aggregator.patch_embed.mask_token": (1, 1024),
    "aggregator.patch_embed.patch_embed.proj.weight": (1024, 3, 14, 14),
    "aggregator.patch_embed.norm.bias": (1024,),
    "aggregator.patch_embed.blocks.23.attn.qkv.weight": (3072, 1024),
    "aggregator.patch_embed.blocks.0.ls2.gamma": (1024,),
    "aggregator.frame_blocks.23.attn.q_norm.weight": (64,),
    "aggregator.global_blocks.0.attn.k_norm.bias": (64,),
    "aggregator.global_blocks.23.mlp.fc1.weight": (4096, 1024),
    "aggregator.frame_blocks.0.mlp.fc2.bias": (1024,),
    "camera_head.empty_pose_tokens": (1, 1, 9),
    "camera_head.trunk.3.attn.qkv.weight": (6144, 2048),
    "camera_head.token_norm.weight": (2048,),
    "camera_head.embed_pose.weight": (2048, 9),
    "camera_head.poseLN_modulation.1.weight": (6144, 2048),
    "camera_head.pose_branch.fc1.weight": (1024, 2048),
    "camera_head.pose_branch.fc2.bias": (9,),
    "point_head.norm.weight": (2048,),
    "point_head.projects.0.weight": (256, 2048, 1, 1),
    "depth_head.projects.3.bias": (1024,),
    "depth_head.resize_layers.0.weight": (256, 256, 4, 4),
    "track_head.feature_extractor.resize_layers.1.weight": (512, 512, 2, 2),
    "depth_head.resize_layers.3.weight": (1024, 1024, 3, 3),
    "depth_head.scratch.layer2_rn.weight": (256, 512, 3, 3),
    "point_head.scratch.refinenet4.out_conv.bias": (256,),
    "depth_head.scratch.refinenet3.resConfUnit1.conv2.weight": (256, 256, 3, 3),
    "depth_head.scratch.output_conv1.weight": (128, 256, 3, 3),
    "depth_head.scratch.output_conv2.0.weight": (32, 128, 3, 3),
    "point_head.scratch.output_conv2.2.weight": (4, 32, 1, 1),
    "depth_head.scratch.output_conv2.2.bias": (2,),
    "track_head.feature_extractor.scratch.layer4_rn.weight": (128, 1024, 3, 3),
    "track_head.feature_extractor.scratch.output_conv1.weight": (128, 128, 3, 3),
    "track_head.tracker.query_ref_token": (1, 2, 388),
    "track_head.tracker.corr_mlp.fc1.weight": (384, 567),
    "track_head.tracker.updateformer.virual_tracks": (1, 64, 1, 384),
    "track_head.tracker.updateformer.input_transform.weight": (384, 388),
    "track_head.tracker.updateformer.flow_head.weight": (130, 384),
    "track_head.tracker.updateformer.time_blocks.5.attn.in_proj_weight": (1152, 384),
    "track_head.tracker.updateformer.space_point2virtual_blocks.0.norm_context.bias": (384,),
    "track_head.tracker.updateformer.space_virtual2point_blocks.5.cross_attn.out_proj.weight": (
        384,
        384,
    ),
    "track_head.tracker.ffeat_updater.0.weight": (128, 128),
    "track_head.tracker.vis_predictor.0.weight": (1, 128),
}
ABSENT = (
    "aggregator.patch_embed.blocks.0.attn.q_norm.weight",
    "camera_head.poseLN_modulation.0.weight",
    "depth_head.resize_layers.2.weight",
    "depth_head.scratch.layer1_rn.bias",
    "depth_head.scratch.output_conv2.1.weight",
    "depth_head.scratch.refinenet4.resConfUnit1.conv1.weight",
    "track_head.feature_extractor.scratch.output_conv2.0.weight",
)


def test_keys_have_the_shapes_of_the_published_model(published: VGGT) -> None:
    state = published.state_dict()
    assert {key: tuple(state[key].shape) for key in SHAPES} == SHAPES
    assert [key for key in ABSENT if key in state] == []


def test_the_convolutional_patch_embedding_has_one_level_fewer() -> None:
    keys = set(on_meta(SMALL).aggregator.patch_embed.state_dict())
    assert keys == {"proj.weight", "proj.bias"}
