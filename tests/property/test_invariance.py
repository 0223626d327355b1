"""Properties for all inputs: a vector depends on its sequence alone, windows tile, views depend on their key alone."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.cells import GRID
from findna.config import EmbedConfig
from findna.data import augment
from findna.data.datasets import corpus_of, iter_steps
from findna.data.windows import count_windows, iter_windows
from findna.embedding import RecordEmbedder
from findna.models.store import Model
from findna.nn import chordmixer
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import BF16, BF16_STREAM, FP32, PRECISIONS, Compute
from findna.nn.mixing import MlpWeights, Rotation, mix
from findna.recipes import PretrainConfig
from findna.record import Record
from findna.reference import measure_readout
from findna.sequence import BLANK, decode, encode, reverse_complement
from findna.sizes import ModelConfig
from findna.train.views import views_of

MODEL = ModelConfig(channels=24, hidden=32, track_width=4, n_layers=3, max_len=42)  # windows of 32 bases
CPU = torch.device("cpu")

lengths = st.lists(st.integers(1, 90), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)


def records_of(lengths, seed):
    rng = np.random.default_rng(seed)
    return [Record(f"s{i}", rng.integers(0, 5, size=n, dtype=np.uint8), 0, i, "made") for i, n in enumerate(lengths)]


NETWORK = initialise(ChordMixer(MODEL), 1)


@cache
def embedder(precision=FP32, *, batch_bases=0, **settings):
    compute = Compute(CPU, precision, batch_bases)
    return RecordEmbedder(NETWORK, EmbedConfig(**settings), compute=compute)


def vectors(embedder, records):
    """Vector by id."""
    found = {}
    for rows in embedder.embed(records):
        found |= dict(zip(rows.obs["id"], rows.x, strict=True))
    return found


def assert_same(found, expected, precision, n_pools=1):
    assert found.keys() == expected.keys()
    for key, both in expected.items():
        for one, vector in zip(np.split(found[key], n_pools), np.split(both, n_pools), strict=True):
            if precision == FP32:
                assert np.abs(one - vector).max() <= 1e-5 * np.abs(vector).max(), key
            else:
                a, b = one.astype(float), vector.astype(float)
                assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.9999, key


@pytest.mark.parametrize(
    ("precision", "pool"), [("fp32", "mean,sd,max,min"), ("fp32", "cls"), ("bf16", "cls"), ("bf16-stream", "max")]
)
@settings(max_examples=6)
@given(lengths=lengths, seed=seeds, batch_bases=st.integers(1, 500), data=st.data())
def test_a_vector_does_not_depend_on_its_batch_its_order_or_its_neighbours(
    precision, pool, lengths, seed, batch_bases, data
):
    precision, n_pools = PRECISIONS[precision], len(pool.split(","))
    records = records_of(lengths, seed)
    together = vectors(embedder(precision, pool=pool), records)
    alone = {}
    for record in records:
        alone |= vectors(embedder(precision, pool=pool), [record])
    assert_same(alone, together, precision, n_pools)
    other_batches = vectors(embedder(precision, pool=pool, batch_bases=batch_bases), records)
    assert_same(other_batches, together, precision, n_pools)
    order = data.draw(st.permutations(records))
    assert_same(vectors(embedder(precision, pool=pool), order), together, precision, n_pools)


@settings(max_examples=6)
@given(lengths=lengths, seed=seeds, batch_bases=st.integers(1, 500))
def test_a_standardised_vector_does_not_depend_on_its_batch(lengths, seed, batch_bases):
    network = initialise(ChordMixer(MODEL), 1)
    many = records_of([25 + i % 30 for i in range(60)], 9)
    model = Model("m", Path(), network, "", {})
    readout = measure_readout(model, many, pool="mean,sd", blocks="6,12", sources={}, compute=Compute(CPU, FP32))
    records = records_of(lengths, seed)
    found = [
        vectors(RecordEmbedder(network, EmbedConfig(), readout=readout, compute=Compute(CPU, FP32, n)), records)
        for n in (0, batch_bases)
    ]
    assert_same(*found, FP32)


@settings(max_examples=5)
@given(n_records=st.integers(1, 2 * GRID), n_shards=st.integers(1, 5), seed=seeds)
def test_shards_give_the_vectors_of_the_whole(n_records, n_shards, seed):
    rng = np.random.default_rng(seed)
    records = records_of(rng.integers(1, 40, size=n_records), seed)
    whole = vectors(embedder(), records)
    joined = {}
    for shard in range(n_shards):
        joined |= vectors(embedder(), records[shard * n_records // n_shards : (shard + 1) * n_records // n_shards])
    assert_same(joined, whole, torch.float32)


@settings(max_examples=6)
@given(lengths=lengths, seed=seeds)
def test_the_same_batches_give_the_same_bits(lengths, seed):
    records = records_of(lengths, seed)
    first, second = (vectors(embedder(strand="both"), records) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_a_resume_on_the_grid_gives_the_same_bits():
    records = records_of(np.random.default_rng(3).integers(1, 60, size=2 * GRID + 17), 4)
    whole, rest = vectors(embedder(), records), vectors(embedder(), records[GRID:])
    assert rest.keys() == {record.id for record in records[GRID:]}
    assert all(np.array_equal(rest[key], whole[key]) for key in rest)


def test_a_batch_of_the_published_depth_is_invariant_too():
    """Forty blocks: what the smaller networks above cannot amplify."""
    model = ModelConfig(channels=44, hidden=64, track_width=4, n_layers=4)
    network = initialise(ChordMixer(model), 3)
    records = records_of([1000, 999, 7, 1000, 512, 100], 5)
    for precision in PRECISIONS.values():
        own = RecordEmbedder(network, EmbedConfig(), compute=Compute(CPU, precision))
        together = vectors(own, records)
        alone = {}
        for record in records:
            alone |= vectors(own, [record])
        assert_same(alone, together, precision)


@given(length=st.integers(1, 500), size=st.integers(1, 60), data=st.data())
def test_windows_cover_a_sequence_and_own_each_base_once(length, size, data):
    stride = data.draw(st.integers(1, size))
    windows = list(iter_windows(length, size=size, stride=stride))
    owned = [base for window in windows for base in range(window.own_start, window.end)]
    assert owned == list(range(length))
    assert all(window.start <= window.own_start < window.end for window in windows)
    assert all(window.end - window.start == min(size, length) for window in windows)
    assert windows[-1].end == length
    assert len(windows) == count_windows(length, size=size, stride=stride)
    starts = [window.start for window in windows]
    assert starts[:-1] == [stride * i for i in range(len(windows) - 1)]


@given(st.text("ACGTNacgtnURYKMSWBDHVu", min_size=0, max_size=200))
def test_reverse_complement_twice_is_the_identity_and_once_pairs_the_bases(text):
    codes, _ = encode(text)
    assert np.array_equal(reverse_complement(reverse_complement(codes)), codes)
    pairs = dict(zip("ACGTN", "TGCAN", strict=True))
    assert decode(reverse_complement(codes)) == "".join(pairs[base] for base in reversed(decode(codes)))


@settings(max_examples=8)
@given(lengths=lengths, seed=seeds)
def test_both_strands_give_one_vector_whichever_strand_is_given(lengths, seed):
    """In one window; longer sequences own their bases from one end."""
    records = [record._replace(codes=record.codes[: MODEL.window]) for record in records_of(lengths, seed)]
    turned = [record._replace(codes=reverse_complement(record.codes)) for record in records]
    assert_same(vectors(embedder(strand="both"), turned), vectors(embedder(strand="both"), records), torch.float32)


@given(length=st.integers(1, 120), seed=seeds, max_length=st.integers(0, 30), fraction=st.floats(0, 1))
def test_augmentations_keep_the_length_and_masks_have_the_right_count(length, seed, max_length, fraction):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 5, size=length, dtype=np.uint8)
    before = codes.copy()
    for changed in (
        augment.delete(codes, rng, max_length=max_length),
        augment.insert(codes, rng, max_length=max_length),
        augment.translocate(codes, rng),
    ):
        assert changed.dtype == np.uint8
        assert len(changed) == length
    assert np.array_equal(codes, before)
    assert augment.mask(codes, rng, fraction=fraction).sum() == round(fraction * length)


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 32), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 2**32 - 1),
    min_length=st.sampled_from([0, 5]),
)
def test_views_depend_on_seed_epoch_and_index_alone(lengths, seed, epoch, min_length):
    corpus = corpus_of(record.codes for record in records_of(lengths, 0))
    config = PretrainConfig(model=MODEL, seed=seed, min_length=min_length)
    together = views_of(corpus, range(len(lengths)), epoch=epoch, config=config)
    for index in range(len(lengths)):
        alone = views_of(corpus, [index], epoch=epoch, config=config)
        ring = slice(together.student.rings[index], together.student.rings[index + 1])
        assert np.array_equal(alone.student.codes, together.student.codes[ring])
        assert np.array_equal(alone.teacher.codes, together.teacher.codes[ring])
        assert np.array_equal(alone.noise, together.noise[ring])
        inside = (together.masked >= ring.start) & (together.masked < ring.stop)
        assert np.array_equal(alone.masked, together.masked[inside] - ring.start)
        assert np.array_equal(alone.targets, together.targets[inside])
        n_bases = ring.stop - ring.start - MODEL.n_class_tokens
        assert len(alone.masked) == round(config.mask_fraction * n_bases)
        assert (alone.student.codes == BLANK).sum() == len(alone.masked) + MODEL.n_class_tokens


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), seed=seeds, data=st.data())
def test_steps_take_every_window_once_an_epoch_and_resume_in_the_middle(n, batch_size, seed, data):
    per_epoch = n // min(batch_size, n)
    stream = iter_steps(n, batch_size, seed=seed)
    steps = [next(stream) for _ in range(3 * per_epoch)]
    for epoch in range(3):
        taken = np.concatenate([indices for e, indices in steps if e == epoch])
        assert len(taken) == len(set(taken.tolist())) == per_epoch * min(batch_size, n)
        assert set(taken.tolist()) <= set(range(n))
    start = data.draw(st.integers(0, 3 * per_epoch - 1))
    resumed = iter_steps(n, batch_size, seed=seed, start=start)
    for epoch, indices in steps[start:]:
        resumed_epoch, resumed_indices = next(resumed)
        assert resumed_epoch == epoch
        assert np.array_equal(resumed_indices, indices)


def rotation_of(ring_lengths, *, channels, track_width, is_by_index):
    """The rotation of rings, as slices or by an index whatever their sizes."""
    rings = np.concatenate([[0], np.cumsum(ring_lengths)])
    shifts = tuple(2**track // 2 for track in range(-(-channels // track_width)))
    rotation = Rotation(rings, channels=channels, shifts=shifts, track_width=track_width)
    rotation.is_by_index = is_by_index
    return rotation


@settings(max_examples=30)
@given(
    ring_lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    channels=st.integers(1, 9),
    track_width=st.integers(1, 3),
    seed=seeds,
)
def test_slices_and_an_index_rotate_alike_and_back_again(ring_lengths, channels, track_width, seed):
    z = torch.randn(channels, sum(ring_lengths), generator=torch.Generator().manual_seed(seed))
    turned = []
    for is_by_index in (False, True):
        rotation = rotation_of(ring_lengths, channels=channels, track_width=track_width, is_by_index=is_by_index)
        there, back = torch.empty_like(z), torch.empty_like(z)
        rotation.moves(there, z, by=torch._foreach_copy_)()
        rotation.moves(back, there, by=torch._foreach_copy_, back=True)()
        assert torch.equal(back, z)
        turned.append(there)
    assert torch.equal(*turned)


@pytest.mark.parametrize("is_by_index", [False, True])
@settings(max_examples=6)
@given(
    ring_lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    channels=st.integers(1, 7),
    track_width=st.integers(1, 3),
    seed=seeds,
)
def test_gradients_of_two_blocks_are_those_of_differences(is_by_index, ring_lengths, channels, track_width, seed):
    generator = torch.Generator().manual_seed(seed)
    rotation = rotation_of(ring_lengths, channels=channels, track_width=track_width, is_by_index=is_by_index)
    shapes = [(channels, sum(ring_lengths)), *((3, channels + 1), (channels, 4)) * 2]
    leaves = [torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True) for shape in shapes]

    def mixed(h, *matrices):
        pairs = [MlpWeights(*matrices[:2]), MlpWeights(*matrices[2:])]
        return mix(h, pairs, [rotation] * 2, products=torch.float64)

    assert torch.autograd.gradcheck(mixed, leaves)


def test_dropout_in_the_blocks_keeps_the_mean_and_its_gradient_is_that_of_what_was_kept():
    """One block whose update is linear in what is kept: h + rotate(mask * (W2 (mask * inner)))."""
    rotation = rotation_of([2000], channels=2, track_width=1, is_by_index=False)
    weights = MlpWeights(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True))
    h = torch.full((2, 2000), 2.0, requires_grad=True)
    torch.manual_seed(0)
    out = mix(h, [weights], [rotation], products=torch.float32, dropout=0.25)
    inner = torch.nn.functional.gelu(torch.tensor(2.0))
    added = (out - 2).detach() / inner
    kept = torch.isclose(added, torch.tensor(1 / 0.75**2))
    assert torch.equal(kept, added != 0)
    assert 0.52 < kept.float().mean() < 0.61  # of 0.75 ** 2
    out.sum().backward()
    assert weights.w2.grad[:, 0].tolist() == pytest.approx((kept.sum(1) * inner / 0.75**2).tolist(), rel=1e-4)
    assert torch.equal(h.grad[1], torch.ones(2000))  # W1 does not read channel 1
    assert (h.grad[0] > 1).sum() >= kept[0].sum()


@pytest.mark.parametrize(("precision", "limit"), [(FP32, 1e-5), (BF16, 2e-2), (BF16_STREAM, 2e-2)])
def test_gradients_do_not_depend_on_the_groups_that_a_batch_is_cut_into(monkeypatch, precision, limit):
    network = initialise(ChordMixer(MODEL), 2)
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 6, size=300, dtype=np.uint8))
    rings = np.array([0, 40, 80, 95, 200, 300])
    found = []
    for group in (50, 10**6):
        for name in ("GROUP", "AMX_GROUP"):
            monkeypatch.setattr(chordmixer, name, group)
        network.zero_grad()
        network(codes, rings, precision=precision).square().mean().backward()
        found.append([p.grad.clone() for name, p in network.named_parameters() if not name.startswith("head")])
    for cut, whole in zip(*found, strict=True):
        assert float((cut - whole).norm()) <= limit * float(whole.norm())
