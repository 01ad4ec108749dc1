# SPDX-License-Identifier: Apache-2.0
"""What came of playing a bag."""

from dataclasses import dataclass, field

from infinitevggt_ros.msg import StreamStatus


@dataclass
class PlayReport:
    """What came of a replay."""

    sent: dict[str, int] = field(default_factory=dict)  # messages by live topic
    late: int = 0  # messages sent more than 10 ms after their time
    unacknowledged: list[str] = field(default_factory=list)  # topics some subscriber lags on
    outcomes: dict[int, int] | None = None  # lockstep: images by StreamStatus outcome
    finished: bool = False  # False: stopped before the end

    def summary(self) -> str:
        """One line for people."""
        topics = ", ".join(f"{topic} {count}" for topic, count in self.sent.items())
        parts = [f"sent {sum(self.sent.values())} messages ({topics})", f"{self.late} late"]
        if self.unacknowledged:
            parts.append(f"the last ones not acknowledged on {', '.join(self.unacknowledged)}")
        else:
            parts.append("all acknowledged")
        if self.outcomes is not None:
            parts.append(f"{self.outcomes.get(StreamStatus.PROCESSED, 0)} images processed")
            parts.append(f"{self.outcomes.get(StreamStatus.REJECTED, 0)} rejected")
            if dropped := self.outcomes.get(StreamStatus.DROPPED, 0):
                parts.append(f"{dropped} dropped by the node")
        return ", ".join(parts) + ("" if self.finished else " (stopped before the end)")
