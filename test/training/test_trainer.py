# SPDX-License-Identifier: Apache-2.0
"""Runs learn, resume bit for bit, freeze, distil, stop and keep bad batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from infinitevggt_core import StreamSession, load_checkpoint
from infinitevggt_core.model import geometry
from infinitevggt_core.model.attention import batch_attention
from infinitevggt_core.training import Clip, ClipShape, DivergedError, RunState
from infinitevggt_core.training.config import OptimizerConfig, StudentConfig
from infinitevggt_core.training.optimizer import learning_rate
from infinitevggt_core.training.schedule import FrameSubset, subset_at
from infinitevggt_core.training.student import Student, masked_attention
from infinitevggt_core.training.targets import targets_of
from infinitevggt_core.training.validation import measure
from support.room_clips import RoomSource, room_clip
from support.runs import changed, small_student, trainer


class OneClip:
    """Source of the same clip at every call."""

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        return room_clip(1, 3, 28, 42)


def curve(out: Path, name: str) -> dict[int, float]:
    events = EventAccumulator(str(out / "curves"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_one_clip_is_learned_by_heart(tmp_path: Path) -> None:
    config = changed(
        optimizer={"steps": 80, "warmup_steps": 5, "lr": 3e-3},
        validate_every=1000, save_every=1000,
    )  # fmt: skip
    run = trainer(tmp_path, config, OneClip())
    report = run.run()
    loss = curve(tmp_path, "train/loss")
    assert report.finished
    assert loss[80] < 0.3 * loss[1]
    assert curve(tmp_path, "train/pose")[80] < 0.3 * curve(tmp_path, "train/pose")[1]


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", validation=RoomSource())
    whole.run()
    first = trainer(tmp_path / "parts", validation=RoomSource())
    for _ in range(4):  # killed after step 4; the last save was at step 3
        first.train_step()
        if first.step == 3:
            first.out.mkdir()
            first.save()
    del first
    second = trainer(tmp_path / "parts", model=small_student(7), validation=RoomSource())
    state = RunState.load(tmp_path / "parts")
    assert state.step == 3
    second.resume(state)
    report = second.run()
    assert (report.step, report.frames) == (6, whole.frames)
    assert_same_weights(second.student.state_dict(), whole.student.state_dict())
    assert_same_weights(second.ema.model.state_dict(), whole.ema.model.state_dict())
    for name in ("train/loss", "train/gradient_norm", "train/lr"):
        parts, uninterrupted = (curve(tmp_path / p, name) for p in ("parts", "whole"))
        assert parts == {step: uninterrupted[step] for step in (4, 5, 6)}


def test_what_a_killed_run_plotted_after_its_last_checkpoint_is_replaced(tmp_path: Path) -> None:
    first = trainer(tmp_path, changed(save_every=3, optimizer={"steps": 5}))
    first.run()
    state = replace(RunState.load(tmp_path), step=3)
    again = trainer(tmp_path, changed(optimizer={"steps": 6}))
    again.resume(state)
    again.run()
    assert sorted(curve(tmp_path, "train/loss")) == [1, 2, 3, 4, 5, 6]


def test_the_state_holds_the_settings(tmp_path: Path) -> None:
    config = changed(seed=5, loss={"pose_weight": 3.0}, optimizer={"steps": 1})
    trainer(tmp_path, config).run()
    assert RunState.load(tmp_path).config == config


def test_a_checkpoint_streams(tmp_path: Path) -> None:
    trainer(tmp_path, validation=RoomSource()).run()
    for name in ("last", "best"):
        model = load_checkpoint(tmp_path / f"{name}.safetensors")
        prediction = StreamSession(model).push(room_clip().images[0, 0])
        assert prediction.depth.isfinite().all()
    assert (tmp_path / "last.safetensors").stat().st_size < 1e6


def test_validation_is_plotted(tmp_path: Path) -> None:
    trainer(tmp_path, validation=RoomSource()).run()
    for name in ("depth_absrel", "depth_delta125", "rotation_deg", "translation", "score"):
        assert sorted(curve(tmp_path, f"validation/{name}")) == [3, 6]


@pytest.mark.parametrize(
    ("student", "frozen"),
    [
        ({"freeze_patch_embedding": True}, ("aggregator.patch_embed",)),
        (
            {"freeze_special_tokens": True},
            ("aggregator.camera_token", "aggregator.register_token"),
        ),
    ],
)
def test_frozen_parts_stay_as_they_are(
    tmp_path: Path, student: dict[str, bool], frozen: tuple[str, ...]
) -> None:
    run = trainer(tmp_path, changed(student=student, optimizer={"steps": 2}))
    before = {name: tensor.clone() for name, tensor in run.student.model.state_dict().items()}
    run.run()
    for name, tensor in run.student.model.state_dict().items():
        # the gradient of a key's bias is 0 but for rounding
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
        elif name.endswith(("fc1.weight", "proj.weight", "_token")):
            assert not torch.equal(tensor, before[name]), name


def test_without_a_point_loss_the_point_head_is_left_alone(tmp_path: Path) -> None:
    run = trainer(tmp_path, changed(loss={"points_weight": 0.0}, optimizer={"steps": 1}))
    before = {k: v.clone() for k, v in run.student.model.point_head.state_dict().items()}
    run.run()
    assert_same_weights(run.student.model.point_head.state_dict(), before)


def test_images_alone_are_learned_from_a_teacher(tmp_path: Path) -> None:
    teacher, student = small_student(1), small_student(2)
    kept = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    config = changed(optimizer={"steps": 40, "warmup_steps": 2}, validate_every=40)
    unlabelled = RoomSource(labels=False)
    run = trainer(tmp_path, config, unlabelled, student, teacher=teacher, validation=unlabelled)
    report = run.run()
    loss = curve(tmp_path, "train/teacher_depth")
    assert loss[40] < 0.5 * loss[1]
    assert (
        "train/depth" not in EventAccumulator(str(tmp_path / "curves")).Reload().Tags()["scalars"]
    )
    assert_same_weights(teacher.state_dict(), kept)
    assert report.metrics is not None


def test_a_teacher_adds_to_the_labels(tmp_path: Path) -> None:
    run = trainer(tmp_path, changed(optimizer={"steps": 1}), teacher=small_student(1))
    run.run()
    tags = EventAccumulator(str(tmp_path / "curves")).Reload().Tags()["scalars"]
    assert {"train/depth", "train/teacher_depth", "train/pose", "train/teacher_pose"} <= set(tags)


def test_images_alone_without_a_teacher_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="teacher"):
        trainer(tmp_path, source=RoomSource(labels=False)).run()


def test_a_loss_that_is_no_number_stops_the_run_and_saves_the_batch(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.run()
    with torch.no_grad():
        run.student.model.depth_head.projects[0].weight.fill_(torch.nan)
    with pytest.raises(DivergedError, match="depth") as caught:
        run.train_step()
    path = tmp_path / "diverged_step6_process0.pt"
    assert str(path) in str(caught.value)
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 6
    assert {"images", "depth", "camera_from_world", "intrinsics"} <= set(saved)


def test_the_time_limit_stops_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    report = trainer(tmp_path, changed(minutes=1e-6)).run()
    assert (report.step, report.finished) == (1, False)
    assert RunState.load(tmp_path).step == 1


def test_accumulated_batches_count_as_one(tmp_path: Path) -> None:
    once = trainer(tmp_path / "1", changed(optimizer={"clip_norm": 0.0}), OneClip())
    twice = trainer(
        tmp_path / "2", changed(optimizer={"clip_norm": 0.0, "accumulate": 2}), OneClip()
    )
    for run in (once, twice):
        run.train_step()
    for (name, one), two in zip(
        once.student.state_dict().items(), twice.student.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, two, msg=name)


def test_recomputing_blocks_changes_no_gradient(tmp_path: Path) -> None:
    runs = [
        trainer(tmp_path, changed(student={"gradient_checkpointing": recompute}))
        for recompute in (False, True)
    ]
    for run in runs:
        run.train_step()
    assert_same_weights(runs[0].student.state_dict(), runs[1].student.state_dict())


def test_the_student_predicts_what_the_network_does() -> None:
    model, images = small_student(), room_clip(batch=2).images
    outputs = Student(model, StudentConfig(precision="fp32"))(images)
    want = model(images, "causal")
    for name in ("depth", "depth_confidence", "points", "points_confidence"):
        torch.testing.assert_close(getattr(outputs, name), getattr(want, name))
    torch.testing.assert_close(outputs.poses[-1], want.pose_encoding)
    assert len(outputs.poses) == 4


def test_a_focus_leaves_out_maps_and_nothing_else() -> None:
    student = Student(small_student(), StudentConfig(precision="fp32"), matches=True)
    images = room_clip(batch=2, frames=3).images
    whole, part = student(images), student(images, FrameSubset(dense=(0, 2), reference=1))
    torch.testing.assert_close(part.poses[-1], whole.poses[-1])
    torch.testing.assert_close(part.depth, whole.depth[:, [0, 2]])
    torch.testing.assert_close(part.points, whole.points[:, [0, 2]])
    assert [m.shape[2] for m in whole.matches] == [2] * 3
    assert [m.shape[2] for m in part.matches] == [1] * 3


def test_foci_of_a_step_repeat_and_lie_in_the_clip() -> None:
    subsets = [subset_at(step, 5, 0.4, seed=1) for step in range(200)]
    assert subsets == [subset_at(step, 5, 0.4, seed=1) for step in range(200)]
    assert {frame for subset in subsets for frame in subset.dense} == set(range(5))
    assert {subset.reference for subset in subsets} == set(range(4))
    assert all(len(subset.dense) == 2 for subset in subsets)
    assert subset_at(0, 5, 1.0, seed=1).dense == tuple(range(5))
    assert len(subset_at(0, 5, 0.0, seed=1).dense) == 1


def test_masked_attention_is_causal_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 12, 8).unbind(0)
    want = batch_attention("causal", 4, window=1)(q, k, v)
    torch.testing.assert_close(masked_attention(4, q, k, v), want)


def test_muon_turns_the_matrices_of_blocks_and_learns(tmp_path: Path) -> None:
    config = changed(optimizer={"optimizer": "muon", "steps": 30, "lr": 3e-3})
    run = trainer(tmp_path, config, OneClip())
    turned = run.optimizers["muon"].param_groups[0]["params"]
    assert {p.ndim for p in turned} == {2}
    blocks = 2 * 4 + 1
    assert len(turned) == 4 * blocks
    losses = [run.train_step()["loss"] for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_keeps_poses_and_losses_in_fp32() -> None:
    outputs = Student(small_student(), StudentConfig(precision="bf16"))(room_clip().images)
    for tensor in (*outputs.poses, outputs.depth, outputs.points, outputs.depth_confidence):
        assert tensor is not None
        assert tensor.dtype == torch.float32


def test_learning_rate_warms_up_and_follows_a_cosine() -> None:
    config = OptimizerConfig(steps=110, warmup_steps=10, lr=1.0, final_lr=0.1)
    assert [learning_rate(step, config) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)


def test_metrics_of_the_truth_and_of_the_trivial_guess() -> None:
    targets = targets_of(room_clip(batch=2))
    assert targets is not None
    model = small_student()
    with torch.no_grad():
        guess = model(room_clip(batch=2).images, "causal")
    scaled = targets.pose_encoding.clone()
    scaled[..., :3] *= 5  # one scale for depth and way
    right = replace(guess, pose_encoding=scaled, depth=5 * targets.depth)
    for metrics in measure(right, targets):
        assert metrics.depth_absrel == pytest.approx(0, abs=1e-5)
        assert metrics.depth_delta125 == 1
        assert metrics.rotation_deg == pytest.approx(0, abs=1e-2)
        assert metrics.translation == pytest.approx(0, abs=1e-4)
    still = targets.pose_encoding[:, :1].expand_as(targets.pose_encoding)
    trivial = replace(guess, pose_encoding=still, depth=torch.ones_like(targets.depth))
    for metrics in measure(trivial, targets):
        assert metrics.score == pytest.approx(1, abs=1e-3)


def test_angles_are_exact_where_they_are_small() -> None:
    angle = torch.tensor([1e-4, 0.5, 3.1])
    turn = torch.zeros(3, 3, 3)
    turn[:, 2, 2] = 1
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0], turn[:, 0, 1] = angle.sin(), -angle.sin()
    torch.testing.assert_close(geometry.angle_deg(turn), angle.rad2deg(), rtol=1e-4, atol=1e-5)
