# SPDX-License-Identifier: Apache-2.0
"""The released implementations and ours give the same numbers (test/reference)."""

import copy

import pytest
import torch

from infinitevggt_core import MemoryConfig, Prediction, StreamSession
from infinitevggt_core.model import kernels
from support.core_samples import REFERENCE, ReferenceCase, assert_close, clip_of, reference_case

TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5
TRACK_TOLERANCE_PX = 0.05
"""Random-weight tracks amplify rounding."""
VISIBILITY_TOLERANCE = 0.01
MOST_ROUNDING = 10
"""Largest rounding that is allowed for, in tolerances."""

STREAMED = [
    "infinitevggt_unbounded",
    "infinitevggt_evicting",
    "infinitevggt_evicting_dinov2",
    "infinitevggt_dinov2_518x518",
]
BATCHES = {
    "vggt_batch": "full",
    "vggt_batch_tracks": "full",
    "stream3r_full": "full",
    "streamvggt_batch_causal": "causal",
    "stream3r_window_batch": "window",
}
SESSIONS = {"stream3r_causal_session": "full", "stream3r_window_session": "window"}


def check(case: ReferenceCase, got: Prediction, rounding: Prediction | None = None) -> None:
    """Compare a clip [1, S, ...] with the reference, dense maps at the pixels that were saved.

    rounding: the prediction in fp64; its distance from `got` is the rounding on this processor.
    """
    step = case.meta["saved_pixel_stride"]
    want = {name: torch.from_numpy(array) for name, array in case.arrays.items()}
    dense = {
        "depth": got.depth[..., None],
        "depth_conf": got.depth_confidence,
        "points": got.points,
        "points_conf": got.points_confidence,
    }
    for name, maps in dense.items():
        assert_close(maps[0, :, ::step, ::step], want[name], TOLERANCE, name)
    poses = got.pose_encoding[0, :, : want["pose_enc"].shape[-1]]  # VGGT saves 7 of 9
    assert_close(poses, want["pose_enc"], TOLERANCE, "pose_enc")
    if "track" in want:
        for name, reference, tolerance in (
            ("tracks", "track", TRACK_TOLERANCE_PX),
            ("track_visibility", "vis", VISIBILITY_TOLERANCE),
            ("track_confidence", "track_conf", VISIBILITY_TOLERANCE),
        ):
            found = getattr(got, name)[0]
            rounded = (found - getattr(rounding or got, name)[0]).abs().max()
            assert rounded < MOST_ROUNDING * tolerance, name
            assert_close(found, want[reference], tolerance + float(rounded), name)


def test_every_reference_vector_is_compared() -> None:
    others = {path.stem for path in REFERENCE.glob("lingbot_*.npz")}  # test_lingbot_map
    compared = {*STREAMED, *BATCHES, *SESSIONS, *others}
    assert {path.stem for path in REFERENCE.glob("*.npz")} == compared


@pytest.mark.parametrize("name", BATCHES)
def test_a_clip_equals_the_released_batch_forward(name: str) -> None:
    case = reference_case(name)
    queries = case.meta["run"].get("query")
    query_points = None if queries is None else torch.tensor(queries)
    with torch.no_grad(), kernels.plain():  # as tracks amplify rounding; streams take our kernels
        got = case.model(case.frames[None], BATCHES[name], query_points=query_points)
    check(case, got, None if query_points is None else in_fp64(case, query_points))


def in_fp64(case: ReferenceCase, queries: torch.Tensor) -> Prediction:
    """Return the clip's prediction in fp64.

    The processor decides the order of sums, and with random weights the iterations of the track
    head amplify their rounding, by up to 0.33 px.
    """
    exact = copy.deepcopy(case.model).double()
    with torch.no_grad(), kernels.plain():
        return exact(case.frames[None].double(), "full", query_points=queries.double())


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_equals_the_released_stream3r_session(name: str) -> None:
    case = reference_case(name)
    session = StreamSession(case.model, MemoryConfig(policy=SESSIONS[name]), points=True)
    check(case, clip_of([session.push(frame) for frame in case.frames]))


@pytest.mark.parametrize("name", STREAMED)
def test_a_session_equals_the_released_infinitevggt(name: str) -> None:
    case = reference_case(name)
    budget = case.meta["run"]["total_budget"]
    memory = MemoryConfig(policy="diversity", total_budget=budget, camera_memory="shared")
    session = StreamSession(case.model, memory, points=True)
    predictions = []
    for index, frame in enumerate(case.frames):
        predictions.append(session.push(frame))
        assert session.stored_tokens == case.arrays["kept_tokens"][index].tolist()
        scores = torch.from_numpy(case.arrays["layer_scores"][index])
        assert_close(torch.tensor(session.layer_similarity[0]), scores, SCORE_TOLERANCE, "scores")
    check(case, clip_of(predictions))
