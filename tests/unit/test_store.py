"""Model folders: round trip, and everything that is refused."""

import hashlib
import itertools
import json
import os
import pickle
import re

import numpy as np
import pytest
import torch

from findna.errors import ModelError, OutputError
from findna.io.files import write_atomic
from findna.models.folders import find_model
from findna.models.manifest import config_text, digest_of
from findna.models.parts import read_card
from findna.models.store import load_model, save_model, verify_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import PRECISIONS
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=1, max_len=23, n_class_tokens=3)


@pytest.fixture
def folder(tmp_path):
    network = initialise(ChordMixer(MODEL), 3)
    save_model(tmp_path / "m", network, name="mine", training={"seed": 3}, card="# mine\n")
    return tmp_path / "m"


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(config_text(config))


def rehash(folder):
    edit(folder, sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


def test_a_model_comes_back_rounded_to_bf16_and_no_further(folder):
    model = load_model(str(folder))
    written = initialise(ChordMixer(MODEL), 3).state_dict()
    for name, value in model.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, written[name].bfloat16().float())
        assert not value.requires_grad
    assert (model.name, model.config, model.training) == ("mine", MODEL, {"seed": 3})
    assert not model.network.training
    assert model.sha256 == json.loads((folder / "config.json").read_text())["sha256"]
    assert (folder / "CARD.md").read_text() == "# mine\n"
    n_bytes = (folder / "model.safetensors").stat().st_size
    assert n_bytes < 2 * MODEL.n_parameters + 2000
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "golden.json", "CARD.md"}


@pytest.mark.parametrize("precision", PRECISIONS.values())
def test_a_whole_model_verifies_in_every_precision(folder, precision):
    checks = list(verify_model(load_model(str(folder)), precision=precision))
    assert [check for check, _, _ in checks] == ["weights are finite", "read-out", "golden vectors"]
    assert all(ok for _, ok, _ in checks)


def test_golden_vectors_tell_a_network_that_computes_something_else(folder):
    model = load_model(str(folder))
    blocks = model.network.blocks
    model.network.blocks = torch.nn.ModuleList([blocks[1], blocks[0], *blocks[2:]])
    assert [ok for _, ok, _ in verify_model(model)] == [True, True, False]


def test_weights_that_are_not_finite_do_not_verify(folder):
    model = load_model(str(folder))
    with torch.no_grad():
        model.network.stem.bias[0] = torch.nan
    checks = list(verify_model(model))
    assert [ok for _, ok, _ in checks] == [False, True, False]
    assert "1 not finite" in checks[0][2]


def test_golden_vectors_that_are_missing_or_of_another_size_do_not_verify(folder):
    (folder / "golden.json").write_text(json.dumps({"20": [1.0, 2.0]}))
    assert [ok for _, ok, _ in verify_model(load_model(str(folder)))] == [True, True, False]
    (folder / "golden.json").unlink()
    checks = list(verify_model(load_model(str(folder))))
    assert checks[-1][1] is False
    assert "golden.json cannot be read" in checks[-1][2]


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"20": [1.0]}', '{"20": "x"}', '{"20": null, "17": 1}', "more"])
def test_golden_vectors_of_anything_else_do_not_verify(folder, text):
    golden = json.loads((folder / "golden.json").read_text())
    content = json.dumps({**golden, "5": [1.0]}) if text == "more" else text
    (folder / "golden.json").write_text(content)
    checks = list(verify_model(load_model(str(folder))))
    assert [ok for _, ok, _ in checks] == [True, True, False]
    assert checks[-1][2].startswith(("golden.json cannot be read", "golden.json does not have one vector for each of"))


def test_a_reader_never_sees_half_of_a_saved_model(folder, monkeypatch):
    """Before every file that a save puts down, and after: the old model, none yet, or the new one."""
    seen = []

    def look():
        try:
            seen.append(load_model(str(folder)).name)
        except ModelError as error:
            assert "holds no config.json" in str(error)  # noqa: PT017
            seen.append("none")

    def write(path, content):
        look()
        write_atomic(path, content)
        look()

    monkeypatch.setattr("findna.models.store.write_atomic", write)
    save_model(folder, initialise(ChordMixer(MODEL), 4), name="new", training={}, card="")
    assert [name for name, _ in itertools.groupby(seen)] == ["none", "new"]


def test_a_wrong_sha256_is_refused_with_both(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    found = hashlib.sha256(content).hexdigest()[:12]
    with pytest.raises(ModelError, match=rf"has sha256 {found}\.\.\., config\.json says [0-9a-f]{{12}}"):
        load_model(str(folder))


def test_a_pickle_is_refused_and_never_opened(tmp_path, folder):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"a model is a folder, and this is a file.*findna model convert"):
        load_model(str(path))

    marker = tmp_path / "ran"

    class Malicious:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Malicious()))
    rehash(folder)
    with pytest.raises(ModelError, match="do not match"):
        load_model(str(folder))
    assert not marker.exists()


def test_missing_and_foreign_tensors_are_refused_by_name(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    head = tensors.pop("head.bias")
    save_file(tensors, folder / "model.safetensors")
    rehash(folder)
    with pytest.raises(ModelError, match=r"(?s)do not match.*head\.bias"):
        load_model(str(folder))
    save_file(tensors | {"head.bias": head, "extra": head.clone()}, folder / "model.safetensors")
    rehash(folder)
    with pytest.raises(ModelError, match=r"(?s)do not match.*extra"):
        load_model(str(folder))
    save_file({"another": head}, folder / "model.safetensors")  # torch would name every tensor that is missing
    rehash(folder)
    with pytest.raises(ModelError, match="do not match") as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other/1"}, "does not have schema 'findna-model/1'"),
        ({"alphabet": "ACGNT"}, "its alphabet is 'ACGNT', not 'ACGTN'"),
        ({"model": {"channels": 6, "heads": 2}}, "unknown settings heads"),
        ({"model": {"channels": "6"}}, "do not match"),
        (
            {"model": {"channels": 8192, "hidden": 8192, "track_width": 800}},
            "parameters are more than the bytes of model.safetensors",
        ),
        ({"model": None}, "config.json: model must be an object, not None"),
        ({"training": None}, "config.json: training must be an object, not None"),
        ({"name": "a\x1b[2J"}, "config.json: name must be a short printable text"),
        ({"model": {"channels": 7, "hidden": 5, "track_width": 2, "n_layers": 1, "max_len": 23}}, "do not match"),
    ],
)
def test_a_foreign_config_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    assert message in str(error.value)


def test_a_config_that_was_edited_is_refused_and_one_without_a_digest_is_read(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["digest"] == digest_of(config)
    config["model"]["track_width"] = 3  # other vectors from the same weights
    (folder / "config.json").write_text(json.dumps(config))
    message = rf"model .*: the content of config\.json has sha256 {digest_of(config)[:12]}.*, its digest says"
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))
    del config["digest"]  # a folder of an earlier version
    config["model"]["track_width"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    assert load_model(str(folder)).config == MODEL


def test_the_layout_of_a_config_is_no_part_of_its_digest(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), separators=(", ", " : ")))
    assert load_model(str(folder)).name == "mine"


def test_a_list_of_numbers_is_one_line_and_texts_stay_as_they_are():
    config = {"a": [1, -2.5, 1e-7], "b": ["x  [1,\n2]", "[3,  4]"], "c": [], "d": {"e": [[1, 2]]}}
    text = config_text(config)
    assert '"a": [ 1, -2.5, 1e-07 ]' in text
    assert json.loads(text) == config | {"digest": digest_of(config)}


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_model(str(folder))
    (folder / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_model(str(folder))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not have schema"):
        load_model(str(folder))


def test_weights_that_are_not_there_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read: no such file"):
        load_model(str(folder))


def test_a_name_that_is_neither_model_nor_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="neither a folder nor the name of a shipped model"):
        find_model("no-such-model")
    with pytest.raises(ModelError, match="the model's name is empty"):
        find_model("")
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        find_model(str(tmp_path))


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(tmp_path / "file" / "m", ChordMixer(MODEL), name="m", training={}, card="")


def test_saving_again_replaces_the_model(folder):
    save_model(folder, initialise(ChordMixer(MODEL), 4), name="other", training={}, card="")
    model = load_model(str(folder))
    assert model.name == "other"
    expected = initialise(ChordMixer(MODEL), 4).stem.bias.detach().bfloat16().float()
    assert np.array_equal(model.network.stem.bias, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_len": 2**33}, "max_len must be at most 1,049,600, not 8589934592"),
        ({"max_len": 10**400}, "max_len must be at most 1,049,600, not 1000000000000000000000000000000000000..."),
        ({"max_len": float("inf")}, "max_len must be a whole number, not inf"),
        ({"max_len": float("nan")}, "max_len must be a whole number, not nan"),
        ({"max_len": None}, "max_len must be a whole number, not None"),
        ({"max_len": True}, "max_len must be a whole number, not True"),
        ({"max_len": 2**20, "hidden": 2048}, "2,147,483,648 hidden values of a window are more than 1,073,741,824"),
        ({"n_class_tokens": 10**9}, "n_class_tokens must be at most 1,024, not 1000000000"),
        ({"channels": 8192, "track_width": 1}, "8,192 tracks are more than 256"),
        ({"n_layers": 1024}, "5,120 blocks are more than 4,096"),
        ({"track_width": "2"}, "track_width must be a whole number, not '2'"),
        ({"shift_layout": ["published"]}, "shift_layout must be a text, not ['published']"),
    ],
)
def test_a_size_beyond_all_limits_is_refused_before_memory_is_taken(folder, changes, message):
    edit(folder, model=MODEL.to_dict() | changes)
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "golden.json", "CARD.md"])
def test_a_pipe_or_a_device_in_a_model_folder_is_never_waited_for(folder, name):
    for is_device in (False, True):
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero") if is_device else os.mkfifo(folder / name)
        assert re.search(r"not a regular file|holds no config\.json", whole_fault(folder))


def whole_fault(folder):
    """What is said of the first part of a model folder that cannot be used."""
    try:
        model = load_model(str(folder))
        read_card(folder)
    except ModelError as error:
        return str(error)
    return next(found for _, holds, found in verify_model(model) if not holds)


def test_weights_far_larger_than_their_network_are_not_read(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 25)
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read: 33,554,432 bytes, and at most"):
        load_model(str(folder))


def test_a_config_that_is_nested_too_deeply_is_refused(folder):
    (folder / "config.json").write_text('{"schema":' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(ModelError, match=r"config\.json cannot be read: it is nested too deeply"):
        load_model(str(folder))


def test_a_file_of_weights_is_not_taken_for_a_checkpoint(folder):
    with pytest.raises(ModelError, match=r"this is a file; use its folder") as error:
        load_model(str(folder / "model.safetensors"))
    assert "convert" not in str(error.value)
