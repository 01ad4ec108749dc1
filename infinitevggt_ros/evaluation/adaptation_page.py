# SPDX-License-Identifier: Apache-2.0
"""Report page of an adaptation: depth of held-out keyframes before and after."""

from html import escape

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core import VGGT
from infinitevggt_core.training.adaptation import Adaptation, Recording
from infinitevggt_ros.evaluation.picture import data_url

SHOWN = 6
WIDTH_PX = 320
STYLE = "body{font-family:sans-serif;margin:2em}td{padding:4px}img{display:block}"


@torch.no_grad()
def adaptation_page(
    title: str, before: VGGT, result: Adaptation, recording: Recording, facts: dict[str, str]
) -> str:
    """Return an HTML page with a table of facts and the depth of some of the last keyframes.

    Near is bright, and both depth maps of a row have the median of the tracked points.
    """
    count = min(SHOWN, len(recording))
    shown = recording[slice(len(recording) - count, None)]
    depths = [model(shown.images[None], "causal", points=False).depth[0].cpu()
              for model in (before, result.model)]  # fmt: skip
    rows = []
    for k in range(count):
        picture = (shown.images[k].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        known = shown.depth[k] > 0
        cells = [picture, *(_coloured(depth[k], known) for depth in depths)]
        images = "".join(f'<td><img src="{data_url(cell, WIDTH_PX)}"></td>' for cell in cells)
        rows.append(f"<tr>{images}</tr>")
    table = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in facts.items()
    )
    heads = "".join(f"<th>{name}</th>" for name in ("image", "depth before", "depth after"))
    return (
        f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><table>{table}</table><h2>Keyframes at the end of the recording"
        f"</h2><table><tr>{heads}</tr>{''.join(rows)}</table>"
    )


def _coloured(depth: Tensor, known: Tensor) -> NDArray[np.uint8]:
    """Return RGB (H, W, 3) of a depth map relative to its median at tracked points."""
    middle = depth[known].median() if known.any() else depth.median()
    near = (0.5 * middle / depth.clamp(min=1e-6)).clamp(0, 1)
    grey = (near * 255).round().byte().numpy()
    bgr = cv2.applyColorMap(grey, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
