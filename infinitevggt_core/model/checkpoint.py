# SPDX-License-Identifier: Apache-2.0
"""Loading of published checkpoints and of our own, and saving (docs/model.md, Checkpoints)."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from infinitevggt_core.config import DINOV2_WIDTHS, ModelConfig
from infinitevggt_core.io import tensor_pickle
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.home import home_expanded
from infinitevggt_core.model.vggt import VGGT

SUFFIXES = (".safetensors", ".pt", ".pth")
KNOWN_NAMES = (
    "model.safetensors",
    "model.pt",
    "model.pth",
    "checkpoints.pth",
    "lingbot-map.pt",
)
HUB_ID = re.compile(r"([^/@:]+/[^/@:]+)(?:@([^/:]+))?(?::(.+))?")
"""owner/name, with @revision and :file if given."""
INDEX_NAME = "model.safetensors.index.json"
CONFIG_KEY = "infinitevggt_config"
WRAPPERS = ("model", "state_dict", "model_state_dict", "ema", "model_ema", "ema_state_dict")
"""Names under which training scripts keep a state_dict; the first that is there is taken."""
PREFIXES = ("module.", "model.", "network.", "net.", "ema_model.")
"""Prefixes of all keys that wrappers add, such as DistributedDataParallel and Lightning."""
COMPILED = "_orig_mod."
"""Part that torch.compile puts into keys."""
SHIPPED = {"tiny": Path(__file__).parents[1] / "weights" / "tiny.safetensors"}
"""Checkpoints in the package, by name; docs/tiny.md is the model card."""
RANDOM = {
    "random:tiny": ModelConfig.tiny(),
    "random:full": ModelConfig(),
    "random:lingbot-map": ModelConfig.lingbot_map(),
}
"""Networks with random weights by name, for tests and measurements of speed."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


def load_checkpoint(
    source: str | os.PathLike[str],
    *,
    config: ModelConfig | None = None,
    device: torch.device | str = "cpu",
) -> VGGT:
    """Return the network with the weights of `source`, fp32, in inference mode.

    source: "tiny", which is part of the package; a .pt, .pth or .safetensors file, or a directory
    that holds one; a hub id, "owner/name[@revision][:file]"; or "random:tiny", "random:full",
    "random:lingbot-map" for random weights. config: the sizes, if the checkpoint does not tell
    them; published checkpoints and our own need none. The checkpoint must hold every key of the
    network and no other. Raises CheckpointError.
    """
    if str(source) in RANDOM:
        return random_model(config or RANDOM[str(source)]).to(device).eval()
    path = _locate(source)
    state, saved_config = _read(path)
    try:
        config = config or saved_config or config_from_state(state)
        with torch.device("meta"):
            model = VGGT(config)
    except (ValueError, KeyError, IndexError) as error:
        report = _key_report(_published_keys("aggregator.scale_token" in state), state)
        raise CheckpointError(f"{path}: {report}; its sizes cannot be told: {error}") from error
    _check_keys(path, model, state)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=True, assign=True)
    return model.to(device).eval()


def random_model(config: ModelConfig, seed: int = 0) -> VGGT:
    """Return a network with reproducible random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VGGT(config)


def save_checkpoint(
    model: VGGT, path: str | os.PathLike[str], dtype: torch.dtype | None = None
) -> None:
    """Write weights and config to one .safetensors file, completely or not at all. Raises
    ValueError for another suffix."""
    if Path(path).suffix != ".safetensors":  # load_checkpoint reads by the suffix
        raise ValueError(f"checkpoints are saved as .safetensors: {path}")
    state = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    metadata = {CONFIG_KEY: json.dumps(asdict(model.config)), "format": "pt"}
    with whole_file(path) as partial:
        save_file(state, partial, metadata)


def config_from_state(state: Mapping[str, Tensor]) -> ModelConfig:
    """Return the configuration that names and shapes of a state_dict tell; the rest is as
    published."""
    is_lingbot_map = "aggregator.scale_token" in state
    published = ModelConfig.lingbot_map() if is_lingbot_map else ModelConfig()
    embed_dim = state["aggregator.camera_token"].shape[-1]
    head_dim = state["aggregator.global_blocks.0.attn.q_norm.weight"].shape[0]
    depth = _count(state, "aggregator.global_blocks.")
    projects = [state[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4)]
    patch_embed, img_size = "conv", published.img_size
    proj = "aggregator.patch_embed.proj.weight"
    if proj not in state:
        proj = "aggregator.patch_embed.patch_embed.proj.weight"
        patch_embed = {width: name for name, width in DINOV2_WIDTHS.items()}[embed_dim]
        grid = round((state["aggregator.patch_embed.pos_embed"].shape[1] - 1) ** 0.5)
        img_size = grid * state[proj].shape[-1]
    layers = published.dpt_layers if depth == published.depth else tuple(range(depth - 4, depth))
    track = "track_head.tracker.query_ref_token" in state
    corr = state["track_head.tracker.corr_mlp.fc2.weight"].shape if track else (128, 384)
    return replace(
        published,
        img_size=img_size,
        patch_size=state[proj].shape[-1],
        embed_dim=embed_dim,
        depth=depth,
        num_heads=embed_dim // head_dim,
        patch_embed=patch_embed,
        camera_trunk_depth=_count(state, "camera_head.trunk."),
        dpt_features=state["depth_head.scratch.layer1_rn.weight"].shape[0],
        dpt_out_channels=tuple(projects),
        dpt_layers=layers,
        track=track,
        track_features=corr[0],
        track_hidden=corr[1],
    )


def _published_keys(is_lingbot_map: bool) -> list[str]:
    config = ModelConfig.lingbot_map() if is_lingbot_map else ModelConfig()
    with torch.device("meta"):
        return list(VGGT(config).state_dict())


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix))


def _locate(source: str | os.PathLike[str]) -> Path:
    try:
        path = SHIPPED.get(str(source)) or home_expanded(source)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if path.is_file():
        return path
    if path.is_dir():
        return _in_directory(path)
    name = str(source)
    found = HUB_ID.fullmatch(name)
    if not found or found[1].startswith((".", "~")) or found[1].endswith(SUFFIXES):
        raise CheckpointError(
            f"{name}: no such file or directory, and neither a hub id of the form owner/name or "
            f"owner/name:file nor one of {', '.join((*SHIPPED, *RANDOM))}"
        )
    repository, revision, file = found.groups()
    directory = _download(name, repository, revision, file)
    return directory / file if file else _in_directory(directory)


def _in_directory(path: Path) -> Path:
    for name in (INDEX_NAME, *KNOWN_NAMES):
        if (path / name).is_file():
            return path / name
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise CheckpointError(f"{path}: expected one checkpoint in the directory, found {names}")
    return found[0]


def _download(name: str, repository: str, revision: str | None, file: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        wanted = [file] if file else _wanted_files(repository, revision)
        path = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
        if file and not (path / file).is_file():
            raise FileNotFoundError(f"{repository} has no file {file}")
        return path
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name}: no such file, and not available from the hub: {reason}. Without a network, "
            "download the checkpoint elsewhere and give its path"
        ) from error


def _wanted_files(repository: str, revision: str | None) -> list[str]:
    """Return the files of one form of the weights: many repositories hold them in several forms."""
    from huggingface_hub import list_repo_files

    anything = [INDEX_NAME, *KNOWN_NAMES, "*.safetensors"]
    try:
        offered = set(list_repo_files(repository, revision=revision))
    except Exception:  # no network, whatever the library raises: the cache may have the files
        return anything
    if INDEX_NAME in offered:
        return [INDEX_NAME, "*.safetensors"]
    return next(([known] for known in KNOWN_NAMES if known in offered), anything)


def _read(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """Return the state_dict and, for our own files, the configuration."""
    try:
        if path.name == INDEX_NAME:
            shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
            parts = [load_file(path.parent / shard) for shard in shards]
            return {k: v for part in parts for k, v in part.items()}, None
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
                text = (file.metadata() or {}).get(CONFIG_KEY)
            return load_file(path), _config_from_json(path, text) if text else None
        content = _read_pickle(path)
    except CheckpointError:
        raise
    except Exception as error:  # a foreign file makes the readers raise anything
        raise CheckpointError(_unreadable(path, error)) from error
    return _unwrap(path, content), None


def _read_pickle(path: Path) -> object:
    """Return the content of a file of torch.save, without running code that it holds."""
    mapped = zipfile.is_zipfile(path)  # the format of torch before 1.6 is not
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:  # it holds more than tensors, as the states of trainings do
        if not mapped:
            raise
        return torch.load(
            path, map_location="cpu", weights_only=False, mmap=True, pickle_module=tensor_pickle
        )


def _unreadable(path: Path, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{path}: not a readable checkpoint ({path.stat().st_size} bytes; truncated, or not made "
        f"of weights alone): {reason}"
    )


def _config_from_json(path: Path, text: str) -> ModelConfig:
    values = json.loads(text)
    unknown = set(values) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise CheckpointError(
            f"{path}: unknown settings {sorted(unknown)}: made by a newer version?"
        )
    return ModelConfig(**values)


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    """Return the state_dict inside the wrappers of training scripts."""
    while isinstance(content, Mapping):
        inner = [content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path}: holds {type(content).__name__}, not a state_dict of tensors; save "
            "model.state_dict() alone"
        )
    return _without_prefixes({str(key).replace(COMPILED, ""): v for key, v in content.items()})


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state_dict without what wrappers put before every key."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return _without_prefixes({key.removeprefix(prefix): v for key, v in state.items()})
    return state


def _check_keys(path: Path, model: VGGT, state: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if expected.keys() == state.keys() and not wrong:
        return
    report = _key_report(expected, state)
    if wrong:
        have, want = tuple(state[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        report += f"; first of {len(wrong)} of another shape: {wrong[0]} is {have}, not {want}"
    raise CheckpointError(f"{path}: {report}")


def _key_report(expected: Iterable[str], state: Mapping[str, Tensor]) -> str:
    wanted = list(expected)
    missing = [key for key in wanted if key not in state]
    unexpected = sorted(set(state) - set(wanted))
    parts = ["not a checkpoint of this network"]
    for kind, keys in (("missing", missing), ("unexpected", unexpected)):
        if keys:
            parts.append(f"first of {len(keys)} {kind} keys: {keys[0]}")
    return "; ".join(parts)
