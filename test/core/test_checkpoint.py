"""Published checkpoints load as they are; a file that is something else is named and explained."""

import json
import pickle
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from core_samples import SMALL, assert_predictions_close, small_frames, small_model
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from torch import Tensor

from infinitevggt_core import (
    VGGT,
    CheckpointError,
    MapConfig,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from infinitevggt_core import checkpoint as checkpoint_module
from infinitevggt_core.checkpoint import INDEX_NAME, KNOWN_NAMES, RANDOM, config_from_state

State = dict[str, Tensor]

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


def same_state(one: VGGT, other: VGGT) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def state(model: VGGT) -> State:
    return {key: value.clone() for key, value in model.state_dict().items()}


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
    """With a track head as StreamVGGT and VGGT-1B, without as STream3R: no conversion step."""
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


def one_missing(state: State) -> State:
    del state["camera_head.trunk_norm.weight"]
    return state


def one_extra(state: State) -> State:
    return {**state, "camera_head.velocity.weight": torch.zeros(3)}


def one_reshaped(state: State) -> State:
    return {**state, "camera_head.embed_pose.weight": torch.zeros(64, 7)}


def resnet_like(_state: State) -> State:
    return {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.bn1.bias": torch.zeros(64)}


WRONG_STATES = {
    one_missing: ["first of 1 missing keys: camera_head.trunk_norm.weight"],
    one_extra: ["first of 1 unexpected keys: camera_head.velocity.weight"],
    one_reshaped: ["camera_head.embed_pose.weight is (64, 7), not (64, 9)"],
    resnet_like: ["missing keys: aggregator.", "first of 2 unexpected keys: conv1.weight"],
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("change", WRONG_STATES, ids=lambda change: change.__name__)
def test_a_wrong_state_is_refused_with_the_first_wrong_key(
    tmp_path: Path, state: State, change: Callable[[State], State], suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    wrong = change(state)
    if suffix == ".pt":
        torch.save(wrong, path)
    else:
        safetensors.torch.save_file(wrong, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, config=SMALL)
    for said in [str(path), *WRONG_STATES[change]]:
        assert said in str(caught.value)


@pytest.mark.parametrize("config", [None, SMALL])
def test_a_wrong_network_is_refused_whether_or_not_sizes_are_given(
    tmp_path: Path, config: ModelConfig | None
) -> None:
    torch.save(resnet_like({}), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"resnet.pth.*missing.*unexpected.*conv1"):
        load_checkpoint(tmp_path / "resnet.pth", config=config)


def test_shapes_that_no_network_has_are_refused(tmp_path: Path, state: State) -> None:
    state["aggregator.camera_token"] = torch.zeros(1, 2, 1, 33)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt") as caught:
        load_checkpoint(tmp_path / "model.pt")
    assert "embed_dim" in str(caught.value)


class Evil:
    """A pickle that would run code when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_inside_a_checkpoint_does_not_run(tmp_path: Path, kind: str) -> None:
    target, path = tmp_path / "written", tmp_path / "model.pt"
    content = {"weights": Evil(target)}
    if kind == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=r"model.pt: not a readable checkpoint"):
        load_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_named_with_its_size(
    tmp_path: Path, model: VGGT, state: State, suffix: str, kept: float
) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_checkpoint(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=rf"model{suffix}.*{path.stat().st_size} bytes"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.safetensors.index.json"])
@pytest.mark.parametrize("text", ["", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7"])
def test_a_text_file_is_not_a_checkpoint(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(CheckpointError, match=f"{name}: not a readable checkpoint"):
            load_checkpoint(source)


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {}, torch.zeros(3), {"a": {"b": 1}}])
def test_a_file_of_something_else_is_not_a_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt: (holds|not a checkpoint)"):
        load_checkpoint(tmp_path / "model.pt")


def test_settings_of_a_newer_version_are_named(tmp_path: Path, model: VGGT) -> None:
    settings = {"infinitevggt_config": json.dumps({"depth": 4, "memory_tokens": 8})}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path, settings)
    with pytest.raises(CheckpointError, match=r"unknown settings \['memory_tokens'\]"):
        load_checkpoint(path)


@pytest.mark.parametrize("files", [[], ["a.pt", "b.pt"]])
def test_a_directory_without_one_checkpoint_says_what_it_holds(
    tmp_path: Path, files: list[str]
) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=", ".join(files) or "none"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["vggt", "models/streamvggt/model", "missing.safetensors", "./missing/model", "a/b.pt"]
)
def test_a_name_that_is_nothing_says_so_without_asking_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        load_checkpoint(name)


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder"),
        OfflineModeIsEnabled("Cannot reach the hub: offline mode is enabled."),
        ConnectionError("Failed to establish a new connection"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hub_id_without_a_network_says_what_to_do(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_args: object, **_options: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", unreachable)
    with pytest.raises(CheckpointError, match=r"facebook/VGGT-1B: .*give its path"):
        load_checkpoint("facebook/VGGT-1B")


def test_a_hub_id_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint("facebook/VGGT 1B")


@pytest.mark.parametrize(("name", "revision"), [("owner/name", None), ("owner/name@v1.2", "v1.2")])
def test_a_hub_id_loads_what_the_hub_gives(
    tmp_path: Path,
    model: VGGT,
    name: str,
    revision: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_checkpoint(model, tmp_path / "model.safetensors")
    asked: list[object] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend((repository, revision))
        assert "model.safetensors" in allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: ["model.safetensors"])
    assert same_state(load_checkpoint(name), model)
    assert asked == ["owner/name", revision]


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        (["model.pt", "model.safetensors", "README.md"], ["model.safetensors"]),
        (["checkpoints.pth", "config.json"], ["checkpoints.pth"]),
        (["model.pt", INDEX_NAME, "model-1-of-2.safetensors"], [INDEX_NAME, "*.safetensors"]),
    ],
)
def test_weights_are_downloaded_in_one_form(
    offered: list[str], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_repository: str, *, revision: None, allow_patterns: list[str]) -> str:
        assert allow_patterns == wanted
        raise ConnectionError("enough is known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: offered)
    with pytest.raises(CheckpointError, match="enough is known"):
        load_checkpoint("owner/name")


def test_random_models_are_reproducible_and_leave_the_generator_alone() -> None:
    generator = torch.get_rng_state()
    one, other = load_checkpoint("random:tiny"), load_checkpoint("random:tiny")
    assert torch.equal(torch.get_rng_state(), generator)
    assert one.config == ModelConfig.tiny()
    assert same_state(one, other)
    assert not one.training
    assert set(RANDOM) == {"random:tiny", "random:full"}


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
