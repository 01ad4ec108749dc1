# SPDX-License-Identifier: Apache-2.0
"""Images of a synthetic room, as a camera that is carried through it sees them."""

from pathlib import Path

import cv2
import numpy as np

from infinitevggt_core.worlds import World, WorldConfig

SEED, WIDTH, HEIGHT, STRIDE = 10_007, 160, 120, 6
COPIES = 200


def world_images(count: int) -> list[np.ndarray]:
    """RGB images (HEIGHT, WIDTH, 3) of a synthetic room."""
    world = World(SEED, config=WorldConfig.of("easy", motion="handheld"))
    shots = [world.render([STRIDE * index], HEIGHT, WIDTH) for index in range(count)]
    return [
        (shot.images[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for shot in shots
    ]


def world_video(path: Path, count: int) -> Path:
    """Write a video of the room, 10 images a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for image in world_images(count):
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def endless_photos(folder: Path) -> Path:
    """Write a folder of 1,200 images: far more than a test processes."""
    folder.mkdir()
    images = world_images(6)
    for copy in range(COPIES):
        order = images if copy % 2 == 0 else images[::-1]
        for index, image in enumerate(order):
            name = folder / f"{copy:03d}_{index}.png"
            cv2.imwrite(str(name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder
