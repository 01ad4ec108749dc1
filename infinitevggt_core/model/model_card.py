# SPDX-License-Identifier: Apache-2.0
"""Training data and licences of known checkpoints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts about the weights of one checkpoint that its user should know."""

    trained_on: str
    """Training data, as a noun phrase."""
    licence: str
    note: str = ""
    """Limits of its use that reports and logs mention, one sentence; empty if there are none."""


CARDS = {
    "tiny": ModelCard(
        trained_on="synthetic rooms only",
        licence="Apache-2.0",
        note="tiny was trained on synthetic rooms only: on real images expect rough geometry, and "
        "load published weights for more (model.checkpoint)",
    ),
    "lch01/StreamVGGT": ModelCard("real and synthetic scenes", "CC BY-NC-SA 4.0, non-commercial"),
    "facebook/VGGT-1B": ModelCard("real and synthetic scenes", "VGGT licence, research only"),
    "facebook/VGGT-1B-Commercial": ModelCard(
        "real and synthetic scenes", "VGGT License v1: commercial use, no military use"
    ),
    "robbyant/lingbot-map": ModelCard(
        trained_on="real and synthetic scenes",
        licence="Apache-2.0, as stated by its authors",
        note="whether Apache-2.0 covers the weights of LingBot-Map is an open question to its "
        "authors (their issue 107): ask them before commercial use",
    ),
    "yslan/STream3R": ModelCard(
        "real and synthetic scenes", "NTU S-Lab License 1.0, non-commercial"
    ),
}
"""Cards by the name or the hub id of the checkpoint. New weights come with a new card."""


def model_card(source: str) -> ModelCard | None:
    """Return the card of a checkpoint name or hub id ("owner/name[@revision][:file]"); None if
    unknown."""
    return CARDS.get(source.partition("@")[0].partition(":")[0])


def model_note(source: str) -> str:
    """Return the limits that reports and logs mention; empty if there are none."""
    card = model_card(source)
    return card.note if card else ""
