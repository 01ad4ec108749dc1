# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints load as they are, and what is saved loads as it was."""

import argparse
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from infinitevggt_core import (
    VGGT,
    CheckpointError,
    MapConfig,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from infinitevggt_core import checkpoint as old_path
from infinitevggt_core.model import checkpoint as checkpoint_module
from infinitevggt_core.model.checkpoint import KNOWN_NAMES, RANDOM, config_from_state
from support.core_samples import (
    SMALL,
    State,
    assert_predictions_close,
    same_state,
    small_frames,
    small_model,
)

PUBLISHED_KIND = ModelConfig(
    img_size=28,
    embed_dim=384,
    depth=4,
    num_heads=6,
    patch_embed="dinov2_vits14_reg",
    camera_trunk_depth=1,
    camera_num_heads=16,
    dpt_features=32,
    dpt_out_channels=(16, 16, 16, 16),
    dpt_layers=(0, 1, 2, 3),
    track_features=16,
    track_hidden=32,
)
"""Every key a published checkpoint has, but for the number of blocks, in a small size."""


def test_a_saved_model_loads_with_its_settings(tmp_path: Path, model: VGGT) -> None:
    save_checkpoint(model, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert same_state(loaded, model)
    assert not loaded.training


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_loaded_model_can_be_trained_as_a_new_one(
    tmp_path: Path, model: VGGT, state: State, name: str
) -> None:
    if name == "model.pt":
        torch.save(state, tmp_path / name)
    else:
        save_checkpoint(model, tmp_path / name)
    loaded = load_checkpoint(tmp_path / name, config=SMALL)
    trainable = {key: parameter.requires_grad for key, parameter in loaded.named_parameters()}
    new = VGGT(SMALL).named_parameters()
    assert trainable == {key: parameter.requires_grad for key, parameter in new}
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    again = load_checkpoint(tmp_path / name, config=SMALL)
    assert same_state(again, model), "training wrote to the file"


def test_a_model_saved_in_bf16_loads_in_fp32(tmp_path: Path, model: VGGT) -> None:
    save_checkpoint(model, tmp_path / "full.safetensors")
    save_checkpoint(model, tmp_path / "half.safetensors", torch.bfloat16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    for key, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[key].bfloat16().float())
    assert model.dtype == torch.float32, "saving changed the model"


def test_a_saved_model_is_as_readable_as_any_new_file(tmp_path: Path, model: VGGT) -> None:
    save_checkpoint(model, tmp_path / "model.safetensors")
    (tmp_path / "other").touch()
    modes = [
        stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model.safetensors", "other")
    ]
    assert modes[0] == modes[1]


def test_saving_replaces_a_file_that_a_loaded_model_came_from(tmp_path: Path, model: VGGT) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path)
    loaded = load_checkpoint(path)
    save_checkpoint(small_model(seed=1), path)
    assert same_state(loaded, model)
    assert same_state(load_checkpoint(path), small_model(seed=1))


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, model: VGGT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_state: State, path: Path, _metadata: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left on device")

    path = tmp_path / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", fail)
        with pytest.raises(OSError, match="no space left"):
            save_checkpoint(model, path)
        assert list(tmp_path.iterdir()) == []
    save_checkpoint(model, path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", fail)
        with pytest.raises(OSError, match="no space left"):
            save_checkpoint(small_model(seed=1), path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    assert same_state(load_checkpoint(path), model)


def test_a_name_that_load_would_not_read_is_refused(tmp_path: Path, model: VGGT) -> None:
    with pytest.raises(ValueError, match=r"safetensors"):
        save_checkpoint(model, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {"state_dict": state},
    "twice": lambda state: {"model": {"model_state_dict": state}},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "compiled blocks": lambda state: {
        key.replace("blocks.0.", "blocks.0._orig_mod."): value for key, value in state.items()
    },
    "Lightning": lambda state: {
        "state_dict": {f"model._orig_mod.{key}": value for key, value in state.items()},
        "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": argparse.Namespace(lr=1e-4, milestones=[1, 2]),
    },
    "averaged": lambda state: {"ema": state, "step": 7},
    "settings of a training": lambda state: {
        "args": argparse.Namespace(lr=1e-4, out=Path("runs"), rate=np.float64(0.5)),
        "model": state,
        "epoch": 3,
        "best_so_far": float("inf"),
    },
    "wrapped data parallel": lambda state: {
        "model": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    },
}


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_training_checkpoints_load_however_they_are_wrapped(
    tmp_path: Path, model: VGGT, state: State, wrapping: str, suffix: str
) -> None:
    path = tmp_path / f"checkpoint{suffix}"
    torch.save(WRAPPINGS[wrapping](state), path)
    assert same_state(load_checkpoint(path, config=SMALL), model)


def test_the_home_directory_has_a_short_name(
    tmp_path: Path, model: VGGT, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(model, tmp_path / "model.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert same_state(load_checkpoint("~/model.safetensors"), model)


def test_a_checkpoint_in_the_old_format_of_torch_loads(
    tmp_path: Path, model: VGGT, state: State
) -> None:
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert same_state(load_checkpoint(path, config=SMALL), model)


def test_the_path_may_be_a_string(tmp_path: Path, model: VGGT, state: State) -> None:
    torch.save(state, tmp_path / "model.pt")
    assert same_state(load_checkpoint(str(tmp_path / "model.pt"), config=SMALL), model)


@pytest.mark.parametrize("name", [*KNOWN_NAMES, "step_9000.safetensors"])
def test_a_directory_that_holds_one_checkpoint_loads(
    tmp_path: Path, model: VGGT, state: State, name: str
) -> None:
    if name.endswith(".safetensors"):
        save_checkpoint(model, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    assert same_state(load_checkpoint(tmp_path, config=SMALL), model)


def write_shards(directory: Path, state: State) -> None:
    keys = sorted(state)
    weight_map = {}
    for index, part in enumerate((keys[::2], keys[1::2]), start=1):
        name = f"model-0000{index}-of-00002.safetensors"
        safetensors.torch.save_file({key: state[key] for key in part}, directory / name)
        weight_map |= dict.fromkeys(part, name)
    index_file = directory / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_sharded_checkpoint_loads_by_its_directory_or_its_index(
    tmp_path: Path, model: VGGT, state: State
) -> None:
    write_shards(tmp_path, state)
    assert same_state(load_checkpoint(tmp_path, config=SMALL), model)
    index = tmp_path / "model.safetensors.index.json"
    assert same_state(load_checkpoint(index, config=SMALL), model)


def test_a_missing_shard_is_named(tmp_path: Path, state: State) -> None:
    write_shards(tmp_path, state)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00002"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("track", [False, True])
def test_a_published_checkpoint_tells_its_sizes(tmp_path: Path, track: bool) -> None:
    """Load without conversion: StreamVGGT and VGGT-1B with a track head, STream3R without."""
    config = replace(PUBLISHED_KIND, track=track)
    if not track:  # what the shapes do not tell is as published, and not used
        config = replace(config, track_features=128, track_hidden=384)
    model = small_model(config=config)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.config == config
    assert same_state(loaded, model)


@pytest.mark.parametrize(("track", "count"), [(True, 1797), (False, 1403)])
def test_the_published_sizes_are_told_from_names_and_shapes(track: bool, count: int) -> None:
    config = ModelConfig(track=track)
    with torch.device("meta"):
        state = VGGT(config).state_dict()
    assert len(state) == count
    assert config_from_state(state) == config


def test_our_own_file_tells_what_shapes_do_not(tmp_path: Path, model: VGGT) -> None:
    save_checkpoint(model, tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    frames = small_frames(2)[None]
    with torch.no_grad():
        assert_predictions_close(loaded(frames), model(frames), tolerance=0)


def test_random_models_are_reproducible_and_leave_the_generator_alone() -> None:
    generator = torch.get_rng_state()
    one, other = load_checkpoint("random:tiny"), load_checkpoint("random:tiny")
    assert torch.equal(torch.get_rng_state(), generator)
    assert one.config == ModelConfig.tiny()
    assert same_state(one, other)
    assert not one.training
    assert set(RANDOM) == {"random:tiny", "random:full", "random:lingbot-map"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"img_size": 519}, "img_size must be a multiple"),
        ({"num_heads": 5}, "multiple of 4"),
        ({"camera_num_heads": 5}, "camera_num_heads"),
        ({"patch_embed": "dinov2_vits14_reg"}, "patch_embed"),
        ({"dpt_layers": (0, 1, 2)}, "four entries"),
        ({"dpt_layers": (0, 1, 2, 4)}, "four entries"),
        ({"dpt_out_channels": (8, 8, 8, 6)}, "multiples of 4"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)


def test_settings_of_the_map_are_checked() -> None:
    with pytest.raises(ValueError, match="voxel_size must lie in"):
        MapConfig(voxel_size=float("nan"))


def test_the_old_import_path_of_the_checkpoints_leads_here() -> None:
    assert old_path.load_checkpoint is load_checkpoint
    assert old_path.CheckpointError is CheckpointError
