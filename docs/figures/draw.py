# SPDX-License-Identifier: Apache-2.0
"""Draw the two diagrams of docs/architecture.md as SVG files beside this script.

Example: python docs/figures/draw.py
"""

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
FONT = "font-family='Helvetica, Arial, sans-serif'"
INK = "#1c2733"
ROOMS = {"ros": "#dbe9f6", "core": "#e3f1de", "memory": "#fbe6d0", "plain": "#f3f3f3"}


@dataclass
class Drawing:
    """SVG of boxes and arrows, in pixels."""

    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, w: int, h: int, room: str, title: str, *lines: str) -> None:
        """Add a box with a bold title and lines of text."""
        self.parts.append(
            f"<rect x='{x}' y='{y}' width='{w}' height='{h}' rx='7' fill='{ROOMS[room]}' "
            f"stroke='{INK}' stroke-width='1.2'/>"
        )
        top = y + h / 2 - 8 * len(lines) + 5
        self.text(x + w // 2, top, title, size=15, weight="bold")
        for index, line in enumerate(lines):
            self.text(x + w // 2, top + 17 * (index + 1), line)

    def group(self, x: int, y: int, w: int, h: int, label: str) -> None:
        """Add a dashed frame with a label in its upper left corner."""
        self.parts.append(
            f"<rect x='{x}' y='{y}' width='{w}' height='{h}' rx='10' fill='none' "
            f"stroke='#8494a4' stroke-width='1.2' stroke-dasharray='6 4'/>"
        )
        self.text(x + 12, y + 20, label, anchor="start", weight="bold", color="#5a6b7b")

    def arrow(self, *points: tuple[float, float], label: str = "", at: int = 0) -> None:
        """Add a polyline with a head; the label stands beside the segment `at`."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(
            f"<polyline points='{path}' fill='none' stroke='{INK}' stroke-width='1.6' "
            "marker-end='url(#head)'/>"
        )
        if label:
            (x1, y1), (x2, y2) = points[at], points[at + 1]
            if y1 == y2:
                self.text((x1 + x2) / 2, y1 - 7, label, size=12)
            else:
                self.text(x1 + 8, (y1 + y2) / 2 + 4, label, size=12, anchor="start")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 13,
        anchor: str = "middle",
        weight: str = "normal",
        color: str = INK,
    ) -> None:
        """Add one line of text."""
        self.parts.append(
            f"<text x='{x}' y='{y}' {FONT} font-size='{size}' text-anchor='{anchor}' "
            f"font-weight='{weight}' fill='{color}'>{escape(text)}</text>"
        )

    def save(self, name: str) -> None:
        """Write the drawing beside this script."""
        head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' "
            f"height='{self.height}' viewBox='0 0 {self.width} {self.height}'>\n"
            "<defs><marker id='head' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' "
            f"markerHeight='7' orient='auto'><path d='M0,0 L10,5 L0,10 z' fill='{INK}'/>"
            "</marker></defs>\n"
            f"<rect width='{self.width}' height='{self.height}' fill='white'/>\n"
        )
        (HERE / name).write_text(head + "\n".join(self.parts) + "\n</svg>\n")


def image_path() -> None:
    """Draw the path of an image through the node."""
    d = Drawing(960, 520)
    d.group(10, 10, 940, 150, "executor thread: infinitevggt_ros/input")
    d.box(30, 55, 150, 80, "plain", "camera driver", "Image, CameraInfo,", "depth, IMU, /tf")
    d.box(240, 55, 170, 80, "ros", "subscription", "QoS of the publisher,", "decode, rectify")
    d.box(470, 55, 170, 80, "ros", "image gate", "size, stamp, values:", "accept or reject")
    d.box(700, 55, 170, 80, "ros", "mailbox", "holds the newest image,", "counts dropped ones")
    d.arrow((180, 95), (240, 95))
    d.arrow((410, 95), (470, 95))
    d.arrow((640, 95), (700, 95))
    d.group(10, 185, 940, 175, "worker thread: infinitevggt_ros/stream and infinitevggt_core")
    d.arrow((785, 135), (785, 235))
    d.text(795, 177, "one image at a time", size=12, anchor="start")
    d.box(
        680,
        235,
        210,
        90,
        "core",
        "StreamSession.push",
        "network and memory:",
        "pose, depth, confidence",
    )
    d.box(430, 235, 190, 90, "ros", "Stream", "axes, scale, gravity,", "level and metric poses")
    d.box(220, 235, 150, 90, "core", "PointMap", "fused voxels,", "ghosts removed")
    d.box(40, 235, 130, 90, "ros", "FrameResult", "plain arrays", "on the host")
    d.arrow((680, 280), (620, 280))
    d.arrow((430, 280), (370, 280))
    d.arrow((220, 280), (170, 280))
    d.group(10, 380, 940, 125, "")
    d.text(
        940,
        400,
        "publishers: infinitevggt_ros/output and node",
        anchor="end",
        weight="bold",
        color="#5a6b7b",
    )
    d.arrow((105, 325), (105, 440))
    d.box(30, 440, 200, 50, "ros", "/tf, odometry, path")
    d.box(260, 440, 215, 50, "ros", "depth and points")
    d.box(505, 440, 200, 50, "ros", "map, map_updates")
    d.box(735, 440, 195, 50, "ros", "status, diagnostics")
    for x in (367, 605, 832):
        d.arrow((105, 415), (x, 415), (x, 440))
    d.save("image_path.svg")


def token_path() -> None:
    """Draw the path of a frame's tokens through network and memory."""
    d = Drawing(960, 560)
    d.box(20, 40, 150, 80, "plain", "image", "(3, H, W) in [0, 1]")
    d.box(220, 40, 190, 80, "core", "patch embedding", "n patches of 14 x 14 px")
    d.box(
        460,
        40,
        230,
        80,
        "core",
        "tokens of the frame",
        "camera | 4 registers | patches",
        "P = n + 5",
    )
    d.arrow((170, 80), (220, 80))
    d.arrow((410, 80), (460, 80))
    d.group(20, 150, 560, 392, "for each of the L layer pairs")
    d.box(60, 195, 480, 60, "core", "frame block", "attention within the frame")
    d.box(60, 300, 480, 60, "core", "global block", "queries, keys and values of the frame")
    d.box(
        60,
        455,
        480,
        60,
        "core",
        "attention",
        "queries of the frame, all keys and values of the layer",
    )
    d.arrow((575, 120), (575, 172), (300, 172), (300, 195))
    d.arrow((300, 255), (300, 300))
    d.arrow((160, 360), (160, 455), label="queries")
    d.arrow((300, 515), (300, 552), (40, 552), (40, 225), (60, 225))
    d.text(310, 534, "next pair", size=12, anchor="start")
    d.group(610, 150, 335, 250, "memory of the layer")
    d.box(640, 185, 275, 50, "memory", "append", "keys (normalised, rotated), values")
    d.box(640, 260, 275, 50, "memory", "score", "policy: high = keep; anchors stay")
    d.box(640, 335, 275, 50, "memory", "evict", "the lowest scores above the budget")
    d.arrow((540, 330), (625, 330), (625, 210), (640, 210), label="k, v")
    d.arrow((777, 235), (777, 260))
    d.arrow((777, 310), (777, 335))
    d.arrow((777, 385), (777, 485), (540, 485), label="kept keys and values", at=1)
    d.box(640, 500, 120, 45, "core", "camera head")
    d.box(775, 500, 80, 45, "core", "depth")
    d.box(870, 500, 75, 45, "core", "points")
    d.arrow((540, 505), (600, 505), (600, 522), (640, 522))
    d.save("token_path.svg")


if __name__ == "__main__":
    image_path()
    token_path()
