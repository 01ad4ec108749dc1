# SPDX-License-Identifier: Apache-2.0
"""Two processes under torchrun learn as one with their batches together."""

import subprocess
import sys
from pathlib import Path

import torch

from infinitevggt_core.training.losses import dense_loss, task_loss
from infinitevggt_core.training.processes import Processes, processes
from infinitevggt_core.training.student import Student
from infinitevggt_core.training.targets import targets_of
from support.room_clips import room_clip
from support.runs import SHORT, small_student

HERE = Path(__file__).parents[1]


def test_two_processes_stay_equal_and_learn_from_both_batches(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *command, str(HERE / "support" / "two_processes.py"), str(tmp_path)],
        check=True,
        timeout=120,
        cwd=HERE,
    )
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in one["weights"].items():
        assert torch.equal(tensor, two["weights"][name]), name
    assert one["frames"] == two["frames"] == 3 * 2 * 6
    assert not torch.equal(one["images"], two["images"])
    wanted = mean_gradient([one["images_index"], two["images_index"]])
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4, msg=name)
    assert (tmp_path / "run" / "last.safetensors").exists()


def mean_gradient(starts: list[int]) -> dict[str, torch.Tensor]:
    student = Student(small_student(), SHORT.student, tracks=True, matches=True)
    for start in starts:
        clip = room_clip(2, 3, start=start)
        targets = targets_of(clip)
        assert targets is not None
        outputs = student(clip.images)
        parts = task_loss(outputs, targets, SHORT.loss)
        parts |= dense_loss(outputs, targets, SHORT.loss, 14)
        (sum(parts.values()) / len(starts)).backward()
    return {n: p.grad for n, p in student.model.named_parameters() if p.grad is not None}


def test_one_process_needs_no_launcher() -> None:
    with processes("cpu") as alone:
        assert alone == Processes(torch.device("cpu"))
        assert alone.is_first
        assert alone.any(True)
        assert not alone.any(False)
        assert alone.mean({"loss": 2.0}) == {"loss": 2.0}
