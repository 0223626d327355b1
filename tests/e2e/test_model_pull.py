"""`findna model pull`, from a server that answers as a hub does."""

import json
import sys
from pathlib import Path

import pytest
from command import call, embedded, read
from hub_server import files_of, running_hub

pytest.importorskip("huggingface_hub")


def test_a_pulled_model_is_a_model_by_its_name(model: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    fasta = write("a.fa", ">a\nACGTTGANC\n")
    refused = call("embed", fasta, "--model", "lab/little", "-o", "a.h5")
    assert refused.code == 2
    assert "run `findna model pull lab/little` first" in refused.err
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commit = hub.push("lab/little", files_of(model))
        result = call("model", "pull", "lab/little", "--json", "p.json")
        assert result.code == 0, result.err
        assert "lab/little: model.safetensors, 0.0 MB" in result.err
        folder = Path(result.out.strip())
        report = json.loads(Path("p.json").read_text())
        assert (report["folder"], report["commit"], report["is_new"]) == (str(folder), commit, True)
    assert call("model", "pull", "lab/little", "--offline").out.strip() == str(folder)
    lines = call("model", "list").out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  pulled")] == ["lab/little"]
    assert call("model", "verify", "lab/little", "--precision", "fp32").code == 0
    embedded(fasta, "--model", "lab/little", "-o", "by_name.h5")
    embedded(fasta, "--model", folder, "-o", "by_folder.h5")
    embedded(fasta, "--model", model, "-o", "own.h5")
    assert (
        read(Path("by_name.h5")).x.tolist() == read(Path("by_folder.h5")).x.tolist() == read(Path("own.h5")).x.tolist()
    )


def test_what_cannot_be_pulled_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        absent = call("model", "pull", "lab/absent")
    unreachable = call("model", "pull", "lab/absent")
    for result in (absent, unreachable):
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("findna: hub repository lab/absent: ")
        assert result.err.count("\n") == 1
    assert call("model", "pull", "no-owner").code == 2
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    missing = call("model", "pull", "lab/absent")
    assert missing.code == 2
    assert "pip install 'findna[hub]'" in missing.err
