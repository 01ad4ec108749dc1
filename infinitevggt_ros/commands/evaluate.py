# SPDX-License-Identifier: Apache-2.0
"""Measure pose, depth and map of a stream against the truth.

KIND is bag, a recording; dataset, a published data set on disk; or synthetic, worlds that no
shipped checkpoint was trained on. Every frame is processed, in this process and without a node.
"""

import argparse

from infinitevggt_ros.commands.evaluate_bag import (
    BAG_EXAMPLE,
    DATASET_EXAMPLE,
    configure_bag,
    configure_dataset,
    run_bags,
    run_dataset,
)
from infinitevggt_ros.commands.evaluate_synthetic import (
    SYNTHETIC_EXAMPLE,
    configure_synthetic,
    run_synthetic,
)

EXAMPLE = SYNTHETIC_EXAMPLE


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    bag = kinds.add_parser(
        "bag",
        help="recordings of camera images, with or without the truth",
        description="Stream bags; write figures, files and a page.",
        epilog=f"example: {BAG_EXAMPLE}",
    )
    configure_bag(bag)
    bag.set_defaults(run_kind=run_bags)
    dataset = kinds.add_parser(
        "dataset",
        help="published data sets on disk",
        description="Stream the sequences of a data set; write figures, files and a page.",
        epilog=f"example: {DATASET_EXAMPLE}",
    )
    configure_dataset(dataset)
    dataset.set_defaults(run_kind=run_dataset)
    synthetic = kinds.add_parser(
        "synthetic",
        help="synthetic worlds",
        description="Stream synthetic worlds and measure pose, depth and map.",
        epilog=f"example: {SYNTHETIC_EXAMPLE}",
    )
    configure_synthetic(synthetic)
    synthetic.set_defaults(run_kind=run_synthetic)


def run(options: argparse.Namespace) -> int:
    return int(options.run_kind(options))
