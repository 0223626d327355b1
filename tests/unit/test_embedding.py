"""Records to rows: the values of a vector, computed by hand, and skipped records."""

import numpy as np
import pytest
import torch

from findna.cells import GRID, write_rows
from findna.config import EmbedConfig
from findna.data.batch import pack
from findna.embedding import RecordEmbedder, feature_names, obs_columns
from findna.errors import BedError, ConfigError, FindnaWarning
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import BF16, FP32, Compute
from findna.record import Record
from findna.sequence import encode, reverse_complement
from findna.sizes import ModelConfig
from findna.stream import one_behind

MODEL = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=2, max_len=23, n_class_tokens=3)  # 20 bases
CPU = torch.device("cpu")


def network():
    return initialise(ChordMixer(MODEL), 2)


def embedder(*, batch_bases=0, **settings):
    return RecordEmbedder(network(), EmbedConfig(**settings), compute=Compute(CPU, FP32, batch_bases))


def record(text, row=0, **fields):
    codes, n_iupac = encode(text)
    return Record(f"r{row}", codes, n_iupac, row, "made", **fields)


def hidden(codes, *, blocks=()):
    batch = pack([codes], n_class_tokens=3)
    with torch.no_grad():
        return network()(torch.from_numpy(batch.codes), batch.rings, blocks=blocks).numpy()


def only(embedder, item, **kwargs):
    (rows,) = embedder.embed([item], **kwargs)
    return rows


LONG = "ACGTTGCANNACGATCGATTACAGGCATTAGCCAGATTTACGACTGG"  # 47 bases: windows 0-20, 20-40, 27-47


def test_mean_is_over_the_bases_and_not_the_class_tokens():
    item = record("ACGTN")
    rows = only(embedder(), item)
    np.testing.assert_allclose(rows.x[0], hidden(item.codes)[:5].mean(0), rtol=1e-5)
    assert rows.x.dtype == np.float32
    assert rows.cls is None


def test_a_batch_that_does_not_fit_in_memory_is_halved_and_the_run_says_so_once():
    items = [record(LONG, row) for row in range(6)]
    (expected,) = embedder(batch_bases=120).embed(items)
    small = embedder(batch_bases=120)
    sizes = []

    def refuse(module, inputs):
        sizes.append(len(inputs[0]))
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")

    small.network.register_forward_pre_hook(refuse)
    with pytest.warns(FindnaWarning, match="cpu has too little memory for batches of 120 bases") as caught:
        (rows,) = small.embed(items)
    assert len(caught) == 1
    np.testing.assert_allclose(rows.x, expected.x, rtol=1e-5, atol=1e-6)
    assert [size for size in sizes if size > 60] == sizes[:2]  # the first batch, and its half


def test_a_window_that_does_not_fit_in_memory_ends_the_run():
    small = embedder()

    def refuse(module, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    small.network.register_forward_pre_hook(refuse)
    with pytest.raises(torch.OutOfMemoryError):
        list(small.embed([record("ACGT")]))


def test_windows_weigh_by_the_bases_they_own():
    codes = encode(LONG)[0]
    first, second, last = hidden(codes[:20])[:20], hidden(codes[20:40])[:20], hidden(codes[27:47])[13:20]
    expected = np.concatenate([first, second, last]).mean(0)
    rows = only(embedder(), record(LONG))
    np.testing.assert_allclose(rows.x[0], expected, rtol=1e-5)
    assert rows.obs["n_windows"] == [3]
    states = np.concatenate([first, second, last])
    np.testing.assert_allclose(only(embedder(pool="max"), record(LONG)).x[0], states.max(0), rtol=1e-5)
    several = only(embedder(pool="min,sd,mean"), record(LONG)).x[0]
    np.testing.assert_allclose(several, np.concatenate([states.min(0), states.std(0), expected]), rtol=1e-4)


def test_a_vector_of_one_window_is_the_same_next_to_a_record_of_several():
    make = embedder(pool="mean,max,min,sd", with_cls=True)
    alone, joined = only(make, record("GATTACA")), next(make.embed([record("GATTACA"), record(LONG, 1)]))
    assert joined.obs["n_windows"] == [1, 3]
    np.testing.assert_allclose(joined.x[0], alone.x[0], rtol=1e-5, atol=1e-6)  # another batch may have other last bits
    np.testing.assert_allclose(joined.cls[0], alone.cls[0], rtol=1e-5, atol=1e-6)


def test_blocks_stand_side_by_side_in_vectors_class_tokens_and_names():
    item = record("ACGTACC")
    states = hidden(item.codes, blocks=[0, 3])
    rows = only(embedder(pool="mean,sd", blocks="0,3", with_cls=True), item)
    np.testing.assert_allclose(rows.x[0], np.concatenate([states[:7].mean(0), states[:7].std(0)]), rtol=1e-4)
    np.testing.assert_allclose(rows.cls[0], states[7:], rtol=1e-5)
    names = feature_names(EmbedConfig(pool="mean,sd", blocks="0,3"), MODEL)
    assert len(names) == len(set(names)) == 24
    assert (names[0], names[6], names[-1]) == ("mean_b0_f000", "mean_b3_f000", "sd_b3_f005")
    assert feature_names(EmbedConfig(blocks="3"), MODEL) == feature_names(EmbedConfig(layer=1), MODEL)


def test_class_tokens_are_averaged_over_windows_by_the_bases_they_own():
    codes = encode(LONG)[0]
    parts = [hidden(codes[a:b])[20:] for a, b in ((0, 20), (20, 40), (27, 47))]  # (K, C) each
    expected = (20 * parts[0] + 20 * parts[1] + 7 * parts[2]) / 47
    np.testing.assert_allclose(only(embedder(pool="cls"), record(LONG)).x[0], expected.ravel(), rtol=1e-5)
    beside = only(embedder(with_cls=True), record(LONG))
    np.testing.assert_allclose(beside.cls[0], expected, rtol=1e-5)
    assert beside.cls.shape == (1, 3, 6)
    assert feature_names(EmbedConfig(pool="cls"), MODEL)[6] == "cls1_f000"
    assert feature_names(EmbedConfig(), MODEL) == [f"f00{i}" for i in range(6)]


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layer_says_after_how_many_layers_to_read(layer):
    item = record("ACGTACC")
    expected = hidden(item.codes, blocks=[layer * MODEL.n_blocks])[:7].mean(0)
    np.testing.assert_allclose(only(embedder(layer=layer), item).x[0], expected, rtol=1e-5)


def test_both_strands_are_averaged_and_their_cosine_is_told():
    item = record("ACGTTGCAAC")
    forward = hidden(item.codes)[:10].mean(0)
    reverse = hidden(reverse_complement(item.codes))[:10].mean(0)
    rows = only(embedder(strand="both"), item)
    np.testing.assert_allclose(rows.x[0], (forward + reverse) / 2, rtol=1e-5)
    cosine = forward @ reverse / np.linalg.norm(forward) / np.linalg.norm(reverse)
    assert rows.obs["rc_cosine"][0] == pytest.approx(cosine, rel=1e-5)
    assert obs_columns(EmbedConfig(strand="both"))["rc_cosine"] == "float32"
    assert "rc_cosine" not in obs_columns(EmbedConfig())


class Sink:
    """A writer that keeps all in memory."""

    def __init__(self, n_records_done=0):
        self.n_records_done, self.rows, self.skipped, self.tokens, self.n_commits = n_records_done, [], [], [], 0

    def write(self, x, obs, cls):
        self.rows += zip(obs["id"], x, strict=True)

    def skip(self, id, **fault):
        self.skipped.append({"id": id, **fault})

    def write_tokens(self, tokens):
        self.tokens.append(tokens)

    def commit(self):
        self.n_commits += 1


def test_tokens_are_one_row_a_base_from_its_own_window():
    codes = encode(LONG)[0]
    sink = Sink()
    list(write_rows(embedder(with_tokens=True, batch_bases=30).embed, [record(LONG), record("ACG", 1)], sink))
    tokens = np.concatenate(sink.tokens)
    assert len(sink.tokens) == 3  # a batch at a time, however long a record is
    assert tokens.shape == (50, 6)
    assert tokens.dtype == np.float16
    expected = np.concatenate([hidden(codes[:20])[:20], hidden(codes[20:40])[:20], hidden(codes[27:47])[13:20]])
    np.testing.assert_allclose(tokens[:47], expected, atol=2e-3)
    np.testing.assert_allclose(tokens[47:], hidden(encode("ACG")[0])[:3], atol=2e-3)


def test_columns_describe_the_record():
    item = record("ACGRNN", 7, name="x", chrom="chr1", start=10, end=16, strand="-", extra={"flag": 16})
    obs = {name: values[0] for name, values in only(embedder(), item).obs.items()}
    assert obs == {
        "id": "r7", "name": "x", "chrom": "chr1", "start": 10, "end": 16, "strand": "-", "source": "made", "row": 7,
        "length": 6, "n_windows": 1, "frac_n": 0.5, "n_iupac": 1, "flag": 16,
    }  # fmt: skip
    assert list(obs) == list(obs_columns(EmbedConfig(), ["flag"]))


def fault(row):
    return BedError("outside the contig", path="a.bed", line=row + 1, record=f"r{row}", row=row)


def test_faults_are_listed_and_the_other_rows_stand_in_order():
    items = [fault(i) if i % 3 == 0 else record("ACGT" * (1 + i % 5), i) for i in range(2 * GRID + 5)]
    sink = Sink()
    assert list(write_rows(embedder().embed, items, sink, fatal=False)) == [GRID, 2 * GRID, 2 * GRID + 5]
    assert [key for key, _ in sink.rows] == [f"r{i}" for i in range(2 * GRID + 5) if i % 3]
    assert [entry["row"] for entry in sink.skipped] == list(range(0, 2 * GRID + 5, 3))
    assert sink.skipped[1] == {
        "id": "r3", "row": 3, "line": 4, "source": "a.bed", "reason": "outside the contig"
    }  # fmt: skip
    assert sink.n_commits == 3


def test_a_fault_ends_the_run_where_it_is_fatal():
    sink = Sink()
    items = [record("ACGT", i) for i in range(GRID)] + [fault(GRID)]
    with pytest.raises(BedError, match=r"a\.bed, line 129"):
        list(write_rows(embedder().embed, items, sink))
    assert len(sink.rows) == GRID  # whole cells before it are kept


def test_a_cell_of_faults_alone_has_no_rows():
    sink = Sink()
    assert list(write_rows(embedder(with_cls=True).embed, [fault(0), fault(1)], sink, fatal=False)) == [2]
    assert (sink.rows, len(sink.skipped)) == ([], 2)


def test_what_is_written_already_is_passed_over():
    items = [record("ACGT" * (1 + i % 5), i) for i in range(GRID + 3)]
    whole, rest = Sink(), Sink(n_records_done=GRID)
    list(write_rows(embedder().embed, items, whole))
    assert list(write_rows(embedder().embed, items, rest)) == [3]
    for (key, vector), (other_key, other) in zip(whole.rows[GRID:], rest.rows, strict=True):
        assert key == other_key
        assert np.array_equal(vector, other)


def test_what_the_model_cannot_give_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="window must be 0 to 20 bases, the longest of the model, not 21"):
        embedder(window=21)


def test_the_network_stays_as_it_is():
    own = network()
    RecordEmbedder(own, EmbedConfig(), compute=Compute(CPU, BF16))
    assert {p.dtype for p in own.parameters()} == {torch.float32}  # it may be trained next


def test_cells_end_early_with_long_records_and_a_resume_makes_the_same_bits():
    items = [record("ACGT" * (1 + 40 * (i % 3 == 2)), i) for i in range(30)]
    whole = Sink()
    ends = list(write_rows(embedder(batch_bases=64).embed, items, whole))
    assert len(ends) > 3
    rest = Sink(n_records_done=ends[1])
    list(write_rows(embedder(batch_bases=64).embed, items, rest))
    for (key, vector), (other_key, other) in zip(whole.rows[ends[1] :], rest.rows, strict=True):
        assert key == other_key
        assert (vector == other).all()


def test_a_gpu_that_is_one_batch_behind_keeps_what_came_before_a_fault():
    def works():
        yield "batch"
        yield "end of a cell"
        raise fault(3)

    works = one_behind(works())
    assert [next(works), next(works)] == ["batch", "end of a cell"]
    with pytest.raises(BedError):
        next(works)
