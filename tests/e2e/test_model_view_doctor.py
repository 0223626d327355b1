"""`findna model`, `view` and `doctor`, and the default model where one is shipped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from command import Oracle, assert_close, call, embedded, read
from published import formula_b

from findna.models.folders import DEFAULT, find_model, shipped_models
from findna.models.manifest import config_text
from findna.sizes import ModelConfig

Write = Callable[..., Path]


@pytest.fixture
def default() -> Path:
    """The folder of the shipped model."""
    return find_model(DEFAULT)


def test_info_tells_size_sha_and_card(model: Path) -> None:
    result = call("model", "info", model, "--json", "i.json")
    assert result.code == 0
    config = json.loads((model / "config.json").read_text())
    for text in (config["sha256"], "window        50 bases", "channels      12", "For tests."):
        assert text in result.out
    assert json.loads(Path("i.json").read_text())["model"] == config["model"]
    shutil.copytree(model, "other")
    Path("other/config.json").write_text(config_text({key: config[key] for key in config if key != "window"}))
    assert "window        50 bases" in call("model", "info", "other").out  # it follows from the sizes


def test_verify_measures_and_refuses(model: Path) -> None:
    result = call("model", "verify", model, "--precision", "fp32", "--json", "v.json")
    assert result.code == 0
    assert result.out.count("ok   little: ") == 4
    assert all(check["ok"] for check in json.loads(Path("v.json").read_text())["checks"])
    shutil.copytree(model, "other")
    golden = json.loads(Path("other/golden.json").read_text())
    golden["17"][0] += 0.1
    Path("other/golden.json").write_text(json.dumps(golden))
    result = call("model", "verify", "other", "--precision", "fp32")
    assert result.code == 1
    assert "FAIL little: golden vectors: largest difference" in result.out
    Path("other/model.safetensors").write_bytes(bytes(6000))
    result = call("model", "verify", "other")
    assert result.code == 1
    assert "model.safetensors has sha256 " in result.err
    result = call("model", "info", "other")
    assert (result.code, "sha256" in result.err) == (1, True)
    assert call("model", "verify", "nowhere").code == 2


def test_a_checkpoint_of_the_published_code_becomes_a_model(write: Write) -> None:
    size = ModelConfig(channels=28, hidden=6, track_width=4, n_layers=1, max_len=64)  # C / (blocks + 1), rounded up
    tensors = {name: torch.from_numpy(value) for name, value in formula_b(size).items()}
    torch.save({"state_dict": tensors}, "authors.pt")
    result = call("model", "convert", "authors.pt", "--out", "mine")
    assert (result.code, result.out) == (0, "")
    assert f"mine: {size.n_parameters:,} parameters, window of 54 bases" in result.err
    assert call("model", "verify", "mine", "--precision", "fp32").code == 0
    embedded(write("a.fa", ">a\nACGTTGANC\n"), "-m", "mine")
    assert_close(read(Path("a.h5")).x[0], Oracle(Path("mine")).vector("ACGTTGANC"))
    # The published channel order is A C G N T.
    w = Oracle(Path("mine")).weights
    theirs = formula_b(size)
    assert_close(w["stem.weight"], theirs["embedding.weight"][:, [0, 1, 2, 4, 3]], tolerance=4e-3)
    assert_close(w["head.bias"], theirs["linear.bias"][[0, 1, 2, 4, 3]], tolerance=4e-3)
    again = call("model", "convert", "authors.pt", "--out", "mine")
    assert (again.code, again.err) == (0, "mine: complete; nothing to do\n")
    refused = call("model", "convert", "authors.pt", "--out", "mine", "--student")
    assert (refused.code, 'settings (network: "student" now, "teacher" before' in refused.err) == (
        1,
        True,
    )
    Path("mine/golden.json").write_text("{}")
    Path("mine/model.safetensors").write_text("")
    damaged = call("model", "convert", "authors.pt", "--out", "mine")
    assert (damaged.code, damaged.err) == (
        1,
        "findna: mine: is not empty, and holds no model; choose another folder, or --force writes one to it\n",
    )
    assert call("model", "convert", "authors.pt", "--out", "mine", "--force").code == 0
    Path("sub").mkdir()
    Path("authors.pt").rename("sub/theirs.pt")
    assert call("model", "convert", "sub/theirs.pt").code == 0
    assert call("model", "verify", "theirs", "--precision", "fp32").code == 0
    del tensors["linear.bias"]
    torch.save(tensors, "part.pt")
    write("text.pt", "hello")
    for name, message in {
        "part.pt": "checkpoint part.pt: its tensors are not those of the network; missing: head.bias",
        "text.pt": "checkpoint text.pt: not a checkpoint of torch.save",
        "absent.pt": "checkpoint absent.pt: cannot be read: no such file or directory",
    }.items():
        result = call("model", "convert", name, "--out", "bad")
        assert result.code == 1
        assert result.err.startswith(f"findna: {message}")
        assert result.err.count("\n") == 1
        assert not Path("bad").exists()


@pytest.fixture
def output(write: Write, genome: Path, model: Path) -> Path:
    bed = write("a.bed", "".join(f"chr1\t{i}\t{i + 20}\tr{i}\n" for i in range(9)) + "chr7\t1\t2\n")
    embedded(bed, "-g", genome, "-m", model, "--on-error", "skip")
    return Path("a.h5")


def test_view_shows_what_a_file_holds(output: Path) -> None:
    result = call("view", output)
    assert result.code == 0
    head, table = result.out.split("\n\n")
    header, *rows = (line.split("\t") for line in table.splitlines())
    assert "\nrows      9 of 10 records, 1 skipped\n" in head
    read_out = next(line for line in head.splitlines() if line.startswith("read-out"))
    assert read_out == "read-out  pool mean, layer 2, window 50, stride 50, raw"
    assert "\nskipped   chr7:1-2(.) (a.bed): contig 'chr7' is not in" in head
    assert header[0] == "id"
    assert header[-4:] == ["f000", "f001", "f002", "f003"]
    assert [row[0] for row in rows] == [f"chr1:{i}-{i + 20}(.)" for i in range(5)]
    x = read(output).x
    assert np.allclose([[float(value) for value in row[-4:]] for row in rows], x[:5, :4], rtol=1e-5)
    tail = call("view", output, "--start", 7, "-n", 50, "--features", 1, "--no-header").out.splitlines()
    assert [line.split("\t")[0] for line in tail] == ["id", "chr1:7-27(.)", "chr1:8-28(.)"]
    summary = json.loads(call("view", output, "--as-json").out)
    assert (summary["n_rows"], summary["n_expected"], summary["n_features"]) == (9, 10, 12)
    assert summary["skipped"][0]["id"] == "chr7:1-2(.)"
    assert summary["params"]["pool"] == "mean"


def test_view_refuses_what_is_not_ours_or_not_whole(output: Path, write: Write) -> None:
    with h5py.File("foreign.h5", "w") as file:
        file["x"] = [1]
    write("text.h5", "hello")
    shutil.copy(output, "half.h5")
    with h5py.File("half.h5", "r+") as file:
        file["uns/findna/complete"][()] = False
    write("cut.h5", output.read_bytes()[:5000])
    for name in ("foreign.h5", "text.h5", "half.h5", "cut.h5", "absent.h5"):
        result = call("view", name)
        assert (result.code, result.out) == (1, ""), name
        assert name in result.err
        assert result.err.startswith("findna: file ")
        assert result.err.count("\n") == 1
    Path("run.h5.partial").mkdir()
    for command in ("view", "verify"):
        assert "an unfinished run; the same command with --resume" in call(command, "run.h5.partial").err
        assert "stdin cannot be read here; give a file" in call(command, "-").err
    assert call("view", ".").err == "findna: file .: is a folder; give a file\n"


def test_doctor_tells_the_machine_and_checks_a_model(model: Path) -> None:
    result = call("doctor", "--model", model, "--json", "d.json")
    assert result.code == 0, result.err
    for name in ("findna", "torch", "h5py", "device", "threads", "native bf16", "cache", "pyarrow"):
        assert f"\n{name:16} " in f"\n{result.out}"
    assert f"torch            {torch.__version__}" in result.out
    assert "ok   little: sha256 and tensors" in result.out
    report = json.loads(Path("d.json").read_text())
    assert report["model"] == "little"
    assert int(report["machine"]["threads"]) >= 1
    shutil.copytree(model, "other")
    Path("other/model.safetensors").write_bytes(b"x")
    assert call("doctor", "--model", "other").code == 1


def test_list_names_every_shipped_model() -> None:
    result = call("model", "list")
    assert result.code == 0
    names = [line.split()[0] for line in result.out.splitlines()[1:]]
    assert names == [path.name for path in shipped_models()]
    assert DEFAULT in names


def test_the_shipped_model_is_whole_and_the_default(default: Path) -> None:
    result = call("model", "list")
    assert [line.split()[0] for line in result.out.splitlines() if line.endswith("default")] == [DEFAULT]
    assert DEFAULT in call("model", "info").out
    for precision in ("fp32", "bf16"):
        result = call("model", "verify", "--precision", precision)
        assert result.code == 0, result.out
    assert call("doctor").code == 0
    assert default.is_dir()


def test_the_default_model_needs_no_flag(default: Path, write: Write, genome: Path, bases: dict[str, str]) -> None:
    embedded(write("a.bed", "chr1\t100\t112\tx\t0\t-\n"), "-g", genome, "--pool", "mean")
    table = read(Path("a.h5"))
    assert table.meta["model"]["name"] == DEFAULT
    embedded("chr1:101-112", "-g", genome, "--strand", "-", "--pool", "mean", "-o", "b.h5")
    assert np.array_equal(read(Path("b.h5")).x, table.x)
    oracle = Oracle(default)
    turned = bases["chr1"][100:112].upper().translate(str.maketrans("ACGT", "TGCA"))[::-1]
    assert_close(table.x[0], oracle.vector(turned))
