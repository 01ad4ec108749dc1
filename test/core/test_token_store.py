# SPDX-License-Identifier: Apache-2.0
"""The arena holds what it was given, against a plain oracle of one tensor per layer."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from torch import Tensor

from infinitevggt_core.memory import TokenStore
from infinitevggt_core.memory.precision import EightBit, Plain, Precision
from support.core_samples import saved_and_read

HEAD_DIM = 3
CPU = torch.device("cpu")
EXACT = Plain(torch.float32)
PRECISIONS = [EXACT, Plain(torch.bfloat16), EightBit(torch.bfloat16)]


@dataclass
class Oracle:
    """Tokens (batch, heads, tokens, 2 * HEAD_DIM + 1) per layer: key, value, frame."""

    layers: list[Tensor] = field(default_factory=list)

    def append(self, layer: int, tokens: Tensor) -> None:
        self.layers[layer] = torch.cat((self.layers[layer], tokens), dim=2)

    def drop(self, layer: int, indices: Tensor) -> None:
        keep = torch.ones(self.layers[layer].shape[:3], dtype=torch.bool)
        keep.scatter_(2, indices, False)
        batch, heads, _, width = self.layers[layer].shape
        self.layers[layer] = self.layers[layer][keep].view(batch, heads, -1, width)


def read(store: TokenStore, layer: int) -> Tensor:
    """A layer as the oracle holds it, in the order of the store."""
    tokens = store.read(layer)
    parts = (tokens.keys, tokens.values, tokens.frames[..., None])
    return torch.cat([part.float() for part in parts], dim=-1)


def in_order(tokens: Tensor) -> list[list[list[float]]]:
    """The tokens of each batch and head, sorted."""
    return [sorted(map(tuple, rows.tolist())) for rows in tokens.flatten(0, 1)]


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of what a rolling memory may ask, batch 1-2, heads 1-3, layers 1-4."""

    @initialize(
        batch=st.integers(1, 2),
        heads=st.integers(1, 3),
        layers=st.integers(1, 4),
        spare=st.integers(0, 12),
    )
    def start(self, batch: int, heads: int, layers: int, spare: int) -> None:
        self.shape = (batch, heads)
        self.store = TokenStore(layers, EXACT)
        self.frame = 0
        empty = torch.zeros(batch, heads, 0, 2 * HEAD_DIM + 1)
        self.oracle = Oracle([empty] * layers)
        self.store.allocate(torch.zeros(batch, heads, 1, HEAD_DIM), spare)

    @property
    def held(self) -> int:
        return sum(tokens.shape[2] for tokens in self.oracle.layers)

    @rule(spare=st.integers(0, 20))
    def resize(self, spare: int) -> None:
        """Grow or shrink, down to nothing free."""
        self.store.resize(self.held + spare)

    @rule(tokens=st.integers(1, 6))
    def push_a_frame(self, tokens: int) -> None:
        """Room for one frame in each layer, then a frame in each."""
        layers = len(self.oracle.layers)
        if self.store.slots < self.held + layers * tokens:
            self.resize(spare=layers * tokens)
        self.store.make_room(tokens)
        for layer in range(layers):
            self.append(layer, tokens)
        self.frame += 1

    @rule(data=st.data(), tokens=st.integers(1, 6))
    def push_to_one_layer(self, data: st.DataObject, tokens: int) -> None:
        layers = len(self.oracle.layers)
        if self.store.slots >= self.held + layers * tokens:
            self.store.make_room(tokens)
            self.append(data.draw(st.integers(0, layers - 1)), tokens)

    def append(self, layer: int, tokens: int) -> None:
        fresh = torch.rand(*self.shape, tokens, 2 * HEAD_DIM + 1)
        fresh[..., -1] = self.frame
        keys, values = fresh[..., :HEAD_DIM], fresh[..., HEAD_DIM:-1]
        self.store.append(layer, keys, values, self.frame)
        self.oracle.append(layer, fresh)

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Drop different tokens per head. Indices are places in the store; the oracle finds the
        tokens by value."""
        layer = data.draw(st.integers(0, len(self.oracle.layers) - 1))
        length = self.store.lengths[layer]
        count = data.draw(st.integers(0, length))
        indices = torch.rand(*self.shape, length).argsort(dim=-1)[..., :count]
        self.oracle.layers[layer] = read(self.store, layer)
        self.oracle.drop(layer, indices)
        self.store.drop(layer, indices)

    @rule(tokens=st.integers(0, 6))
    def make_room(self, tokens: int) -> None:
        if self.store.slots >= self.held + len(self.oracle.layers) * tokens:
            self.store.make_room(tokens)
            starts = self.store._starts
            for layer, end in enumerate([*starts[1:], self.store.slots]):
                assert end - starts[layer] - self.store.lengths[layer] >= tokens

    @rule()
    def save_and_load(self) -> None:
        """The exact order, not only the same tokens."""
        loaded = TokenStore(len(self.oracle.layers), EXACT)
        loaded.load_state_dict(saved_and_read(self.store.state_dict()), CPU)
        for layer in range(len(self.oracle.layers)):
            assert torch.equal(read(loaded, layer), read(self.store, layer))
        assert (loaded._starts, loaded.slots) == (self.store._starts, self.store.slots)
        self.store = loaded

    @invariant()
    def holds_what_the_oracle_holds(self) -> None:
        assert self.store.lengths == [tokens.shape[2] for tokens in self.oracle.layers]
        for layer, tokens in enumerate(self.oracle.layers):
            assert in_order(read(self.store, layer)) == in_order(tokens)

    @invariant()
    def layers_do_not_overlap(self) -> None:
        ends = [*self.store._starts[1:], self.store.slots]
        for start, length, end in zip(self.store._starts, self.store.lengths, ends, strict=True):
            assert 0 <= start <= start + length <= end


def test_any_sequence_of_calls_keeps_every_token_in_its_layer() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def filled(lengths: list[int], slots: int) -> TokenStore:
    """One batch and head; the key of every token is its layer, the value its place."""
    store = TokenStore(len(lengths), EXACT)
    store.allocate(torch.zeros(1, 1, 1, 1), slots)
    store.make_room(max(lengths))
    for layer, length in enumerate(lengths):
        keys = torch.full((1, 1, length, 1), float(layer))
        store.append(layer, keys, torch.arange(float(length)).view(1, 1, -1, 1), frame=layer)
    return store


def test_dropping_all_tokens_leaves_an_empty_layer_and_the_others_whole() -> None:
    store = filled([3, 4, 5], slots=20)
    store.drop(1, torch.tensor([[[2, 0, 3, 1]]]))
    assert store.lengths == [3, 0, 5]
    assert store.read(1).keys.shape == (1, 1, 0, 1)
    assert store.read(0).values.flatten().tolist() == [0, 1, 2]
    assert store.read(2).values.flatten().tolist() == [0, 1, 2, 3, 4]


def test_dropped_tokens_are_replaced_by_the_last_and_no_other_moves() -> None:
    store = filled([8], slots=8)
    store.drop(0, torch.tensor([[[6, 1, 3]]]))
    assert store.read(0).values.flatten().tolist() == [0, 5, 2, 7, 4]


def test_room_that_is_there_moves_nothing() -> None:
    store = filled([3, 4], slots=20)
    starts = list(store._starts)
    store.make_room(5)
    assert store._starts == starts


def test_the_store_rounds_to_its_precision_and_says_its_bytes() -> None:
    store = TokenStore(1, Plain(torch.bfloat16))
    assert (store.nbytes, store.slots) == (0, 0)
    keys = torch.rand(2, 3, 4, 5)
    store.allocate(keys, 10)
    store.append(0, keys, -keys, frame=7)
    held = store.read(0)
    assert torch.equal(held.keys, keys.bfloat16())
    assert torch.equal(held.values, -keys.bfloat16())
    assert (held.frames == 7).all()
    assert store.nbytes == 2 * 3 * 10 * (2 * 5 * 2 + 4 + 4)  # keys and values, frame, metadata
    assert store.nbytes == 2 * 10 * TokenStore.bytes_per_token(3, 5, store.precision)


def test_eight_bits_are_within_half_a_step_of_each_token() -> None:
    store = TokenStore(1, EightBit(torch.float32))
    keys = torch.randn(1, 2, 50, 8) * torch.logspace(-30, 3, 50)[:, None]
    keys[0, 0, 7] = 0
    store.allocate(keys, 50)
    store.append(0, keys, -3 * keys, frame=0)
    largest = keys.abs().amax(dim=-1, keepdim=True)
    held = store.read(0)
    assert ((held.keys - keys).abs() <= 0.501 * largest / 127).all()
    assert ((held.values + 3 * keys).abs() <= 0.501 * 3 * largest / 127).all()
    assert store.nbytes == 2 * 50 * (2 * (8 + 4) + 4 + 4)  # a scale each; frame, metadata


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_products_with_stored_keys_are_fp32(precision: Precision) -> None:
    keys, vector = torch.randn(2, 3, 40, 16), torch.randn(2, 3, 16)
    store = TokenStore(1, precision)
    store.allocate(keys, 40)
    store.append(0, keys, keys, frame=0)
    stored = store.read(0)
    if isinstance(precision, EightBit):  # the stored number is the step times its scale
        steps, scales = stored.parts[:2]
        exact = steps.double() * scales[..., None].double()
    else:
        exact = stored.keys.double()
    want = (exact * vector.double()[..., None, :]).sum(dim=-1)
    assert (stored.key_products(vector) - want).abs().max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_products_on_the_gpu_are_those_on_the_cpu(precision: Precision) -> None:
    parts, vector = precision.encode(torch.randn(1, 4, 1000, 64)), torch.randn(1, 4, 64)
    got = precision.products([part.cuda() for part in parts], vector.cuda()).cpu()
    assert (got - precision.products(parts, vector)).abs().max() < 1e-4


def test_an_empty_store_is_saved_and_loaded() -> None:
    store = filled([3, 1], slots=8)
    store.load_state_dict(saved_and_read(TokenStore(2, EXACT).state_dict()), CPU)
    assert (store.lengths, store.slots, store.nbytes) == ([0, 0], 0, 0)


def test_reading_before_anything_is_allocated_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing is allocated"):
        TokenStore(1, EXACT).read(0)


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_a_precision_change_keeps_every_token(lengths: list[int]) -> None:
    store = filled(lengths, slots=sum(lengths) + 5 * len(lengths))
    before = [read(store, layer) for layer in range(len(lengths))]
    for precision in (Plain(torch.bfloat16), EightBit(torch.float32)):
        store.convert(precision)
        for layer, tokens in enumerate(before):
            assert torch.allclose(read(store, layer), tokens, rtol=1e-2)


def test_growing_that_fails_for_want_of_memory_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = filled([3, 4], slots=20)
    before = [read(store, layer) for layer in range(2)]
    allocate, calls = Tensor.new_empty, []

    def fail_at_the_third(part: Tensor, *size: int, **options: object) -> Tensor:
        calls.append(size)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no memory for the third part")
        return allocate(part, *size, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "new_empty", fail_at_the_third)
        with pytest.raises(torch.OutOfMemoryError):
            store.resize(40)
    assert store.slots == 20
    assert all(torch.equal(read(store, layer), before[layer]) for layer in range(2))
    store.resize(30)
    assert store.slots == 30
    assert all(torch.equal(read(store, layer), before[layer]) for layer in range(2))
