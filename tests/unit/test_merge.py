"""Parts to one output: their order, parts that do not belong together, and any size of blocks and files."""

import errno
import json
import resource
from pathlib import Path

import h5py
import numpy as np
import pyarrow.dataset
import pyarrow.parquet
import pytest
from outputs import FEATURES, dump, obs, table, vectors

from findna.errors import ConfigError, OutputError, TableError
from findna.io import h5ad
from findna.io.files import publish
from findna.io.formats import infer_format
from findna.io.hdf5 import EmbeddingReader, EmbeddingWriter
from findna.io.rows import OBS_COLUMNS
from findna.io.spool import Spool
from findna.io.virtual import join
from findna.io.written import open_written
from findna.runs.merge import merge
from findna.runs.merge_parquet import FACTS, merge_parquet

N = 23
UNS = {
    "provenance": {"versions": {"findna": "1"}, "device": "cpu"},
    "model": {"sha256": "abc"},
    "inputs": [{"path": "peaks.bed", "bytes": 9, "sha256": "def"}],
    "genome": {"path": "g.fa", "bytes": 7, "n_contigs": 2, "digest": "123", "modified_ns": 5},
    "params": {"pool": "mean", "with_tokens": False},
}
CUTS = [0, 9, 9, 17, N]  # the second of four shards is empty
WRITTEN = {}


def write_part(path, first=0, stop=N, *, full=False, columns=OBS_COLUMNS, **changes):
    """Records [first, stop); every seventh is skipped."""
    options = {"n_cls_shape": (2, 3), "tokens_dim": 2} if full else {}
    uns = UNS | {"params": {"pool": "mean", "with_tokens": full}} | changes
    options |= {"output_format": infer_format(path)}
    with EmbeddingWriter(path, features=FEATURES, fingerprint={}, obs_columns=columns, **options) as writer:
        for row in range(first, stop):
            if row % 7 == 3:
                writer.skip(f"bad {row}", row=row, line=row + 1, source="peaks.bed", reason="no region")
                continue
            if full:
                writer.write_tokens(vectors([row] * obs(row)["length"], 2))
            cls = vectors([row], 6).reshape(-1, 2, 3) if full else None
            more = {name: 0 for name in columns if name not in OBS_COLUMNS}
            writer.write(vectors([row]), table([obs(row) | more]), cls)
        writer.finish(uns, n_expected=stop - first)
    return path


def shard(number, n=4, *, cuts=CUTS):
    first, stop = cuts[number - 1 : number + 1]
    return {"number": number, "n": n, "first": first, "n_records": stop - first, "n_bases": 1, "n_total": cuts[-1]}


def parts_in(folder, **changes):
    """Four parts; they are written once, and copied for each test."""
    paths = {n: folder / f"p{n}.h5" for n in range(1, len(CUTS))}
    if (key := repr(changes)) not in WRITTEN:
        for n, path in paths.items():
            write_part(path, CUTS[n - 1], CUTS[n], shard=shard(n), **changes)
        WRITTEN[key] = {path.name: path.read_bytes() for path in folder.glob("p[1-4].*h5")}
    for name, content in WRITTEN[key].items():
        (folder / name).write_bytes(content)
    return list(paths.values())


def without_provenance(path):
    return {name: value for name, value in dump(path).items() if not name.startswith("uns/findna/provenance")}


@pytest.mark.parametrize("block", [1, 2048])
def test_parts_in_any_order_give_the_content_of_one_run(tmp_path, monkeypatch, block):
    parts = parts_in(tmp_path, full=True)
    write_part(tmp_path / "whole.h5", full=True)
    monkeypatch.setattr("findna.runs.merge.BLOCK", block)
    report = merge([*parts[::-1], tmp_path / "p1.tokens.h5"], tmp_path / "all.h5", command="findna merge")
    assert without_provenance(tmp_path / "all.h5") == without_provenance(tmp_path / "whole.h5")
    assert dump(tmp_path / "all.tokens.h5") == dump(tmp_path / "whole.tokens.h5")
    assert (report["n_records"], report["n_rows"], report["n_skipped"], report["n_parts"]) == (N, 20, 3, 4)
    assert report["outputs"] == [str(tmp_path / "all.h5"), str(tmp_path / "all.tokens.h5")]
    assert [part["path"] for part in report["provenance"]["parts"]] == list(map(str, parts))
    assert not (tmp_path / "all.h5.partial").exists()


@pytest.mark.parametrize("block", [5])
def test_a_virtual_output_reads_as_the_copy_does(tmp_path, monkeypatch, block):
    anndata = pytest.importorskip("anndata")
    monkeypatch.setattr("findna.runs.merge.BLOCK", block)
    parts = parts_in(tmp_path, full=True)
    merge(parts, tmp_path / "copy.h5")
    report = merge(parts, tmp_path / "all.h5", virtual=True)
    assert content(tmp_path / "all.h5") == content(tmp_path / "copy.h5")
    assert content(tmp_path / "all.tokens.h5") == content(tmp_path / "copy.tokens.h5")
    assert open_written(tmp_path / "all.h5").check() == "checksums of 4 parts agree"
    assert report["outputs"] == [str(tmp_path / "all.h5"), str(tmp_path / "all.tokens.h5")]
    assert not (tmp_path / "all.h5.partial").exists()
    with h5py.File(tmp_path / "all.h5") as file:
        assert [file[name].is_virtual for name in ("X", "obs/id", "obs/chrom/codes")] == [True, True, False]
    monkeypatch.chdir("/")  # the parts lie beside the file, wherever it is read from
    found, copy = anndata.read_h5ad(tmp_path / "all.h5"), anndata.read_h5ad(tmp_path / "copy.h5")
    assert (found.X == copy.X).all()
    assert (found.obsm["X_cls"] == copy.obsm["X_cls"]).all()
    assert found.obs.equals(copy.obs)


def content(path):
    """All but what says where the rows come from, and the checksums of them."""
    own = ("/@", "uns/findna/provenance", "uns/findna/parts", "uns/findna/checksums")
    return {name: value for name, value in dump(path).items() if not name.startswith(own)}


def test_another_part_of_the_same_shape_is_found_by_its_checksums(tmp_path):
    parts = parts_in(tmp_path)
    merge(parts, tmp_path / "all.h5", virtual=True)
    with h5py.File(parts[2], "r+") as file:
        file["X"][1] = 7
    with pytest.raises(TableError, match=r"p3.h5: checksum of X differs"):
        open_written(tmp_path / "all.h5").check()
    with pytest.raises(TableError, match=r"p3.h5: checksum of X differs"):
        merge(parts, tmp_path / "copy.h5")
    assert not (tmp_path / "copy.h5").exists()


@pytest.mark.parametrize(
    ("name", "dataset", "value", "part"),
    [("p3.h5", "uns/findna/skipped/reason", "another", "skipped"), ("p3.tokens.h5", "X", 3, "X")],
)
def test_changed_tokens_and_skipped_records_of_a_part_are_found(tmp_path, name, dataset, value, part):
    parts = parts_in(tmp_path, full=True)
    with h5py.File(tmp_path / name, "r+") as file:
        file[dataset][0] = value
    with pytest.raises(TableError, match=rf"{name}: checksum of {part} differs"):
        merge(parts, tmp_path / "copy.h5")
    assert not (tmp_path / "copy.h5").exists()


def test_a_virtual_output_whose_parts_cannot_be_read_gets_no_name(tmp_path, monkeypatch):
    parts, write = parts_in(tmp_path), h5ad.write_embeddings

    def write_and_damage(path, *args, **options):
        write(path, *args, **options)
        with h5py.File(path, "r+") as file:
            shape = file["X"].shape
            del file["X"]
            join(file, "X", [("gone.h5", shape[0])], shape[1:], "<f4")

    monkeypatch.setattr(h5ad, "write_embeddings", write_and_damage)
    with pytest.raises(OutputError, match=r"its part gone\.h5 is not found beside it"):
        merge(parts, tmp_path / "all.h5", virtual=True)
    assert not (tmp_path / "all.h5").exists()


def test_a_virtual_output_without_a_part_is_refused(tmp_path):
    parts = parts_in(tmp_path)
    merge(parts, tmp_path / "all.h5", virtual=True)
    parts[2].rename(tmp_path / "elsewhere.h5")
    with pytest.raises(TableError, match=r"all.h5: its part p3.h5 is not found beside it"):
        EmbeddingReader(tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:  # other programs see that values are missing
        assert np.isnan(file["X"][:]).any()
    write_part(tmp_path / "p3.h5", 9, 15, shard=shard(3))
    with pytest.raises(TableError, match=r"p3.h5 was changed: /.* has another shape or type"):
        EmbeddingReader(tmp_path / "all.h5")


def test_parts_of_a_virtual_output_lie_in_its_folder(tmp_path):
    parts = parts_in(tmp_path)
    (tmp_path / "below").mkdir()
    with pytest.raises(ConfigError, match=r"p1.h5: a virtual output needs its parts in its own folder"):
        merge(parts, tmp_path / "below" / "all.h5", virtual=True)
    with pytest.raises(ConfigError, match="only HDF5 can point to its parts, not tsv"):
        merge(parts, tmp_path / "all.tsv", output_format="tsv", virtual=True)
    moved = [path.rename(tmp_path / "below" / path.name) for path in parts]
    merge(moved, tmp_path / "all.h5", virtual=True)
    with EmbeddingReader(tmp_path / "all.h5") as reader:
        assert len(reader) == 20


def test_more_parts_than_open_files_are_read_or_refused(tmp_path, monkeypatch):
    parts = parts_in(tmp_path)
    merge(parts, tmp_path / "all.h5", virtual=True)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = []
    monkeypatch.setattr("resource.getrlimit", lambda what: (40, 50))
    monkeypatch.setattr("resource.setrlimit", lambda what, found: asked.append(found))
    with pytest.raises(TableError, match=r"needs 67 open files, and the limit is 50 \(ulimit -Hn\)"):
        EmbeddingReader(tmp_path / "all.h5")
    monkeypatch.setattr("resource.getrlimit", lambda what: (40, 5000))
    EmbeddingReader(tmp_path / "all.h5").close()
    assert asked == [(67, 5000)]
    monkeypatch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


@pytest.mark.parametrize("name", ["all.tsv", "all.npy", "all.parquet"])
def test_parts_become_any_format(tmp_path, name):
    pytest.importorskip("pyarrow")
    parts, kind = parts_in(tmp_path), Path(name).suffix[1:]
    merge(parts, tmp_path / name, output_format=kind)
    one = parts_in_one(tmp_path / "one")
    merge([one], tmp_path / "one" / name, output_format=kind)
    assert (tmp_path / name).stat().st_size > 200
    if kind != "parquet":  # whose metadata names the parts
        assert (tmp_path / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
        meta = json.loads((tmp_path / "all.meta.json").read_text())
        assert [line["row"] for line in meta["skipped"]] == [3, 10, 17]
        assert meta["n_expected"] == N


def parts_in_one(folder):
    folder.mkdir()
    return write_part(folder / "p.h5", shard=shard(1, 1, cuts=[0, N]))


def test_a_part_that_is_missing_or_there_twice_is_named(tmp_path):
    parts = parts_in(tmp_path)
    with pytest.raises(TableError, match="2 of 4 shards are missing: 2, 4"):
        merge([parts[0], parts[2]], tmp_path / "all.h5")
    with pytest.raises(TableError, match=r"p1\.h5: is shard 1/4, and so is .*p1\.h5"):
        merge([*parts, parts[0]], tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model": {"sha256": "xyz"}}, "the content of model differs"),
        ({"params": {"pool": "max", "with_tokens": False}}, 'pool is "max", there "mean"'),
        ({"inputs": [{"path": "peaks.bed", "bytes": 9, "sha256": "other"}]}, "the content of input 1 differs"),
        ({"genome": {"path": "g.fa", "bytes": 7, "n_contigs": 2, "digest": "x"}}, "the content of genome differs"),
        ({"provenance": {"versions": {"findna": "2"}}}, 'findna is "2", there "1"'),
        ({"shard": shard(4, 5)}, "number of shards is 5, there 4"),
        ({"columns": {**OBS_COLUMNS, "flag": "int32"}}, "its columns are "),
    ],
)
def test_a_part_of_another_run_is_refused_and_the_difference_named(tmp_path, changes, what):
    parts = parts_in(tmp_path)[:3]
    parts.append(write_part(tmp_path / "other.h5", 17, N, **({"shard": shard(4)} | changes)))
    with pytest.raises(TableError) as error:
        merge(parts, tmp_path / "all.h5")
    assert "other.h5: does not belong to " in str(error.value)
    assert what in str(error.value)


def test_where_input_and_genome_lie_makes_no_difference(tmp_path):
    parts = parts_in(tmp_path)[:3]
    moved = {"inputs": [UNS["inputs"][0] | {"path": "/node7/peaks.bed"}], "genome": UNS["genome"] | {"modified_ns": 6}}
    parts.append(write_part(tmp_path / "moved.h5", 17, N, shard=shard(4), **moved))
    assert merge(parts, tmp_path / "all.h5")["n_rows"] == 20


def test_what_is_no_part_is_named(tmp_path):
    parts = parts_in(tmp_path)
    whole = write_part(tmp_path / "whole.h5")
    with pytest.raises(TableError, match=r"whole\.h5: is the output of a complete run, not a part"):
        merge([whole], tmp_path / "all.h5")
    with pytest.raises(TableError, match=r"none\.h5: not found"):
        merge([*parts, tmp_path / "none.h5"], tmp_path / "all.h5")
    (tmp_path / "p5.h5.partial").mkdir()
    with pytest.raises(TableError, match=r"p5\.h5\.partial: is an unfinished run"):
        merge([*parts, tmp_path / "p5.h5.partial"], tmp_path / "all.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(TableError, match=r"text\.h5: is a text file, not HDF5"):
        merge([*parts, tmp_path / "text.h5"], tmp_path / "all.h5")
    with h5py.File(parts[1], "r+") as file:
        file["uns/findna/complete"][()] = False
    with pytest.raises(TableError, match=r"p2\.h5: is incomplete"):
        merge(parts, tmp_path / "all.h5")


def test_parts_that_leave_a_gap_are_refused(tmp_path):
    parts = parts_in(tmp_path)
    parts[3] = write_part(tmp_path / "late.h5", 18, N, shard=shard(4) | {"first": 18, "n_records": 5})
    with pytest.raises(TableError, match=r"late\.h5: begins at record 18, but the shard before it ends at 17"):
        merge(parts, tmp_path / "all.h5")
    parts[3] = write_part(tmp_path / "short.h5", 17, 20, shard=shard(4) | {"n_records": 3})
    with pytest.raises(TableError, match=r"short\.h5: is the last shard and ends at record 20 of 23"):
        merge(parts, tmp_path / "all.h5")
    parts[3] = write_part(tmp_path / "less.h5", 17, 20, shard=shard(4))
    with pytest.raises(TableError, match=r"less\.h5: holds 3 records, but its shard has 6"):
        merge(parts, tmp_path / "all.h5")


def test_tokens_of_other_sequences_are_refused(tmp_path):
    parts = parts_in(tmp_path, full=True)
    (tmp_path / "p1.tokens.h5").replace(tmp_path / "p3.tokens.h5")
    with pytest.raises(TableError, match=r"p1\.tokens\.h5: not found"):
        merge(parts, tmp_path / "all.h5")
    with pytest.raises(TableError, match=r"p3\.tokens\.h5: has .* than p3\.h5|p3\.tokens\.h5: has \d sequences"):
        merge(parts[2:], tmp_path / "all.h5")


def test_rows_that_cannot_be_read_name_their_part_and_leave_nothing_behind(tmp_path):
    n = 3000
    cuts = [0, 1500, n]
    parts = [write_part(tmp_path / f"p{i}.h5", cuts[i - 1], cuts[i], shard=shard(i, 2, cuts=cuts)) for i in (1, 2)]
    with h5py.File(parts[1]) as file:
        at = file["obs/name"].id.get_chunk_info(0)
    content = bytearray(parts[1].read_bytes())
    content[at.byte_offset : at.byte_offset + at.size] = bytes(at.size)  # gzip that is none
    parts[1].write_bytes(content)
    with pytest.raises(TableError, match=r"p2\.h5: is damaged"):
        merge(parts, tmp_path / "all.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p1.h5", "p2.h5"]


def test_an_output_is_replaced_only_by_force_and_never_a_part(tmp_path):
    parts, out = parts_in(tmp_path), tmp_path / "all.h5"
    out.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        merge(parts, out)
    merge(parts, out, force=True)
    assert h5py.is_hdf5(out)
    assert merge(parts, out)["nothing_to_do"]
    (other := tmp_path / "other").mkdir()
    with pytest.raises(OutputError, match=r"other inputs or settings \(the content of model has changed"):
        merge(parts_in(other, model={"sha256": "other"}), out)
    with pytest.raises(ConfigError, match="is also a part: choose another name"):
        merge(parts, parts[0], force=True)
    with EmbeddingWriter(tmp_path / "run.h5", features=FEATURES, fingerprint={"seed": 1}, every=0) as writer:
        writer.write(vectors([0]), table([obs(0)]))
        writer.commit()
    with pytest.raises(OutputError, match="the partial run has other settings"):
        merge(parts, tmp_path / "run.h5")


def test_a_merge_that_was_killed_while_its_files_got_their_names_is_repeated(tmp_path):
    parts, out = parts_in(tmp_path, full=True), tmp_path / "all.h5"
    merge(parts, out)
    expected = dump(tmp_path / "all.tokens.h5")
    Spool(tmp_path / "all.h5.partial", [], {"command": "merge"}).close()  # what a kill leaves
    assert merge(parts, out)["nothing_to_do"]
    out.unlink()
    with pytest.raises(OutputError, match="belongs to an earlier all"):
        merge(parts, out)
    Spool(tmp_path / "all.h5.partial", [], {"command": "merge"}).close()
    assert "nothing_to_do" not in merge(parts, out)
    assert dump(tmp_path / "all.tokens.h5") == expected


def test_a_merge_whose_last_file_gets_no_name_leaves_none_of_the_others(tmp_path, monkeypatch):
    parts, out = parts_in(tmp_path), tmp_path / "all.npy"

    def full(temp, final):
        if final == out:
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(temp, final)

    with monkeypatch.context() as patch:
        patch.setattr("findna.io.outputs.publish", full)
        with pytest.raises(OutputError, match="no space left"):
            merge(parts, out, output_format="npy")
    assert not list(tmp_path.glob("all*"))
    merge(parts, out, output_format="npy")
    out.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("findna.io.outputs.publish", lambda temp, final: full(temp, out))
        with pytest.raises(OutputError, match="no space left"):
            merge(parts, out, output_format="npy", force=True)
    assert sorted(path.name for path in tmp_path.glob("all*")) == ["all.meta.json", "all.obs.tsv"]  # of before


def test_parquet_parts_become_a_folder_that_reads_as_one_table(tmp_path):
    places = zip(range(1, 5), CUTS, CUTS[1:], strict=False)
    parts = [write_part(tmp_path / f"p{n}.parquet", first, stop, shard=shard(n)) for n, first, stop in places]
    whole = pyarrow.parquet.read_table(write_part(tmp_path / "whole.parquet"))
    out = tmp_path / "all.parquet"
    report = merge_parquet(parts[::-1], out, command="findna merge")
    assert pyarrow.parquet.read_table(out).to_pylist() == whole.to_pylist()
    assert pyarrow.dataset.dataset(out).to_table(columns=["id"])["id"].to_pylist() == whole["id"].to_pylist()
    assert (report["n_records"], report["n_rows"], report["n_skipped"], report["n_parts"]) == (N, 20, 3, 4)
    assert [path.samefile(part) for path, part in zip(sorted(out.glob("part*")), parts, strict=True)] == [True] * 4
    assert json.loads((out / FACTS).read_text())["files"][0] == {"name": "part-1.parquet", "n_rows": 8}
    assert merge_parquet(parts, out)["nothing_to_do"]
    (out / FACTS).write_text("{}")
    with pytest.raises(OutputError, match="exists already; choose another name, or force=True replaces it"):
        merge_parquet(parts, out)
    merge_parquet(parts, out, force=True)
    with pytest.raises(TableError, match="shard 3 of 4 is missing"):
        merge_parquet([parts[0], parts[1], parts[3]], tmp_path / "b.parquet")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not a data set of findna"):
        merge_parquet(parts, out, force=True)
    changed = pyarrow.parquet.read_table(parts[2])
    values = pyarrow.array(["other", *changed["id"].to_pylist()[1:]])
    stored = pyarrow.parquet.read_metadata(parts[2]).metadata
    stored.pop(b"ARROW:schema")
    changed = changed.set_column(changed.column_names.index("id"), "id", values).replace_schema_metadata(stored)
    pyarrow.parquet.write_table(changed, tmp_path / "changed.parquet")
    with pytest.raises(TableError, match=r"changed\.parquet: checksum of obs differs"):
        merge_parquet([parts[0], parts[1], tmp_path / "changed.parquet", parts[3]], tmp_path / "b.parquet")
    parts[0].write_bytes(parts[0].read_bytes()[:-9])
    with pytest.raises(TableError, match=r"p1\.parquet: is not a complete Parquet file"):
        merge_parquet(parts, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


def test_class_tokens_need_hdf5(tmp_path):
    with pytest.raises(ConfigError, match="class tokens beside the vectors need output_format=h5"):
        merge(parts_in(tmp_path, full=True), tmp_path / "all.npy", output_format="npy")


def test_parts_of_skipped_records_alone_are_joined(tmp_path):
    cuts = [0, 1, 2]
    rows = [3, 10]
    parts = [
        write_part(tmp_path / f"p{i}.h5", row, row + 1, shard=shard(i, 2, cuts=cuts))
        for i, row in enumerate(rows, start=1)
    ]
    assert merge(parts, tmp_path / "all.h5")["n_skipped"] == 2
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["X"].shape == (0, 3)
        assert file["uns/findna/skipped/row"][()].tolist() == rows
        assert np.asarray(file["uns/findna/n_expected"]) == 2
