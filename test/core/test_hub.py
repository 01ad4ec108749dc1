# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by the name they have on the hub."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from infinitevggt_core import (
    VGGT,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from infinitevggt_core.model.checkpoint import INDEX_NAME
from support.core_samples import SMALL, State, same_state


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


@pytest.mark.parametrize("name", ["owner/name:long.pt", "owner/name@v1.2:long.pt"])
def test_one_of_several_files_is_named(
    tmp_path: Path, state: State, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "long.pt")
    asked: list[object] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend((repository, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", None)
    loaded = load_checkpoint(name, config=SMALL).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert asked == ["owner/name", "v1.2" if "@" in name else None, ["long.pt"]]
    with pytest.raises(CheckpointError, match=r"owner/name has no file other\.pt"):
        load_checkpoint(name.replace("long", "other"))


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        (["model.pt", "model.safetensors", "README.md"], ["model.safetensors"]),
        (["checkpoints.pth", "config.json"], ["checkpoints.pth"]),
        (["lingbot-map-long.pt", "lingbot-map.pt"], ["lingbot-map.pt"]),
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
