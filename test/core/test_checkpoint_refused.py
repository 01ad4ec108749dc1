# SPDX-License-Identifier: Apache-2.0
"""Files that are no checkpoint are refused, with a reason that helps."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from infinitevggt_core import (
    VGGT,
    CheckpointError,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from support.core_samples import SMALL, State, same_state


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
    with pytest.raises(CheckpointError, match=r"model.pt: (not a readable checkpoint|holds dict)"):
        load_checkpoint(path)
    assert not target.exists()


def test_code_beside_the_weights_does_not_run(tmp_path: Path, state: State, model: VGGT) -> None:
    target, path = tmp_path / "written", tmp_path / "model.pt"
    torch.save({"model": state, "args": Evil(target)}, path)
    assert same_state(load_checkpoint(path, config=SMALL), model)
    assert not target.exists()


def test_a_whole_network_is_refused_with_the_way_to_save_it(tmp_path: Path, model: VGGT) -> None:
    torch.save({"model": model}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"save model\.state_dict\(\) alone"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_home_directory_of_nobody_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"~nobody_of_this_name/model\.pt: "):
        load_checkpoint("~nobody_of_this_name/model.pt")


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
