"""Published checkpoints: names, sizes, channel order, and what is refused."""

import os
import pickle

import numpy as np
import pytest
import torch
from published import formula_b

from findna.errors import ModelError
from findna.models.convert import convert, read_checkpoint
from findna.models.store import load_model, verify_model
from findna.sizes import ModelConfig

TINY = ModelConfig(channels=16, hidden=24, track_width=2, n_layers=2, max_len=128)  # 7 blocks a layer, 8 tracks


def state(config=TINY, **names):
    return {key: torch.from_numpy(value) for key, value in formula_b(config, **names).items()}


def converted(tmp_path, content, **options):
    torch.save(content, tmp_path / "authors.pt")
    config = convert(tmp_path / "authors.pt", tmp_path / "out", name="authors", **options)
    return config, load_model(str(tmp_path / "out")).network.state_dict()


def refusal(tmp_path, content, **options):
    torch.save(content, tmp_path / "authors.pt")
    with pytest.raises(ModelError) as error:
        convert(tmp_path / "authors.pt", tmp_path / "out", name="authors", **options)
    assert not (tmp_path / "out").exists()
    return str(error.value)


def test_size_follows_from_the_tensors_and_channels_change_their_order(tmp_path):
    theirs = state()
    config, ours = converted(tmp_path, theirs)
    assert config == TINY

    def same(mine, original):
        return torch.equal(mine, original.bfloat16().float())

    for ours_at, theirs_at in enumerate([0, 1, 2, 4, 3]):  # A C G T N in A C G N T
        assert same(ours["stem.weight"][:, ours_at], theirs["embedding.weight"][:, theirs_at])
        assert same(ours["head.weight"][ours_at], theirs["linear.weight"][theirs_at])
        assert same(ours["head.bias"][ours_at], theirs["linear.bias"][theirs_at])
    assert same(ours["stem.bias"], theirs["embedding.bias"])
    for layer in range(2):
        for block in range(7):
            for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
                name = f"encoder.SwanDNA_blocks.{layer}.SwanDNA_blocks.{block}.column_transform.{part}"
                assert same(ours[f"blocks.{layer * 7 + block}.{part}"], theirs[name])


def test_a_converted_model_verifies_and_its_card_says_what_is_not_known(tmp_path):
    converted(tmp_path, state())
    model = load_model(str(tmp_path / "out"))
    assert all(ok for _, ok, _ in verify_model(model))
    assert model.training["converted_from"] == "authors.pt"
    card = (tmp_path / "out" / "CARD.md").read_text()
    assert model.training["checkpoint_sha256"] in card
    assert "does not say on which data" in card


@pytest.mark.parametrize("blocks", ["SwanDNA_blocks", "DANSwan_blocks", "chordmixer_blocks"])
@pytest.mark.parametrize("mixer", ["column_transform", "mix"])
def test_other_names_of_the_same_parts_are_known(tmp_path, blocks, mixer):
    expected = converted(tmp_path, state())[1]
    found = converted(tmp_path, state(blocks=blocks, mixer=mixer))[1]
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("wrap", [
    lambda s: {"state_dict": s, "epoch": 3},
    lambda s: {f"module.{key}": value for key, value in s.items()},
    lambda s: {"model_state_dict": {f"_orig_mod.module.{key}": value for key, value in s.items()}},
    lambda s: {"teacher": s, "student": {key: value + 1 for key, value in s.items()}, "center": torch.zeros(10, 16)},
    lambda s: {f"student.{key}": value + 1 for key, value in s.items()} | {f"teacher.{k}": v for k, v in s.items()},
    lambda s: {key: value.double() for key, value in s.items()},
    lambda s: {"Teacher": s, "Student": {key: value + 1 for key, value in s.items()}, "EPOCHS_RUN": 29},
    lambda s: {"Student": {key: value + 1 for key, value in s.items()}, "Teacher": s, "EPOCHS_RUN": 29},
    lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
])  # fmt: skip
def test_wrappers_are_taken_off_and_the_teacher_is_taken(tmp_path, wrap):
    expected = converted(tmp_path, state())[1]
    found = converted(tmp_path, wrap(state()))[1]
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_student_of_a_training_state_is_taken_where_it_is_asked_for(tmp_path):
    teacher, student = state(), {key: value / 2 for key, value in state().items()}
    expected = converted(tmp_path, student)[1]
    training_state = {"Teacher": teacher, "Student": student, "EPOCHS_RUN": 29}
    found = converted(tmp_path, training_state, network="student")[1]
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert load_model(str(tmp_path / "out")).training["network"] == "student"
    assert "| network of the checkpoint | student |" in (tmp_path / "out" / "CARD.md").read_text()


def test_a_checkpoint_without_the_network_that_is_asked_for_is_refused(tmp_path):
    assert "holds no student; it holds only a teacher" in refusal(tmp_path, {"Teacher": state()}, network="student")
    assert "holds no teacher; it holds only a student" in refusal(tmp_path, {"Student": state()})
    assert "is not marked as the student" in refusal(tmp_path, state(), network="student")


def test_ten_blocks_are_the_published_length_and_the_last_track_may_be_narrower(tmp_path):
    config, _ = converted(tmp_path, state(ModelConfig(channels=25, hidden=4, track_width=3, n_layers=1)))
    assert (config.max_len, config.n_blocks, config.track_width) == (1010, 10, 3)


def test_all_tensors_are_taken_or_none(tmp_path):
    tensors = state()
    head = tensors.pop("linear.bias")
    assert "missing: head.bias" in refusal(tmp_path, tensors)
    assert "unexpected: decoder.bias" in refusal(tmp_path, tensors | {"linear.bias": head, "decoder.bias": head})
    key = "encoder.SwanDNA_blocks.0.SwanDNA_blocks.3.column_transform.fc1.bias"
    gone = {k: v for k, v in state().items() if k != key}
    assert "missing: blocks.3.fc1.bias" in refusal(tmp_path, gone)
    twice = state() | {key.replace("column_transform", "mix"): state()[key]}
    assert "unexpected: " in refusal(tmp_path, twice)
    message = refusal(tmp_path, state() | {key: torch.zeros(25)})
    assert "of the wrong shape or type: blocks.3.fc1.bias (25,)" in message
    assert "of the wrong shape or type: blocks.3.fc1.bias (torch.int64)" in refusal(
        tmp_path, state() | {key: torch.zeros(24, dtype=torch.int64)}
    )
    assert "NaN or Inf in blocks.3.fc1.bias" in refusal(tmp_path, state() | {key: torch.full((24,), torch.nan)})


def test_what_holds_no_network_is_refused(tmp_path):
    assert "holds no state dict" in refusal(tmp_path, [1, 2])
    assert "holds no state dict" in refusal(tmp_path, {"epoch": 3})
    assert "no blocks of the network in it; it holds a" in refusal(tmp_path, {"a": torch.zeros(2)})
    few = {f"encoder.mix.{k}": v for k, v in state().items()}
    assert "no blocks of the network in it" in refusal(tmp_path, few)
    shallow = ModelConfig(channels=6, hidden=4, track_width=2, n_layers=1, max_len=8, n_class_tokens=1)
    assert "1 layers of 3 blocks: max_len 8 leaves no base" in refusal(tmp_path, state(shallow))


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path, is_zip):
    marker = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    content = {**state(), "hook": Malicious(marker)}
    if is_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(ModelError, match="not a checkpoint with only tensors"):
        convert(path, tmp_path / "out", name="x")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "damaged.pt"
    torch.save(state(), path)
    content = path.read_bytes()
    for bad in (b"", b"PK", b"not a checkpoint\n" * 40, content[:100], content[: len(content) // 2], content[:-30]):
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=r"\Acheckpoint [^\n]*\Z"):
            convert(path, tmp_path / "out", name="x")
    assert not (tmp_path / "out").exists()


def test_flipped_bits_are_refused_or_do_not_matter(tmp_path):
    path = tmp_path / "flipped.pt"
    torch.save(state(), path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(30):
        changed = bytearray(content)
        for position in rng.integers(0, 3000, size=8):
            changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            read_checkpoint(path)
        except ModelError:
            n_refused += 1
    assert n_refused > 10


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: no such file"):
        convert(tmp_path / "none.pt", tmp_path / "out", name="x")
    with pytest.raises(ModelError, match="cannot be read: is a folder; give a file"):
        convert(tmp_path, tmp_path / "out", name="x")


def hostile_files() -> dict[str, bytes]:
    """Files that are not checkpoints, by what they are."""
    import io
    import zipfile

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    header = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
    return {
        "empty": b"",
        "noise": bytes(range(256)),
        "text": b"hello\n",
        "safetensors": len(header).to_bytes(8, "little") + header + bytes(36),
        "a header of 2^63": b"\xff" * 8 + header,
        "a header nested": (10_001).to_bytes(8, "little") + b"{" + b"[" * 10_000,
        "a bomb": bomb.getvalue(),
        "a truncated archive": bomb.getvalue()[:300],
        "an archive's magic": b"PK\x03\x04",
        "a pickle's magic": b"\x80",
        "a pickle of a number": b"\x80\x02K\x01.",
        "a pickle that runs code": b"\x80\x02cos\nmkdir\nX\x06\x00\x00\x00sprung\x85R.",
        "a pickle of any memory": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    }


SAID = {
    "safetensors": "not a checkpoint of torch.save; a safetensors file needs no conversion: use its model folder",
    "a bomb": "would unpack to 10,000,000 bytes",
    "a truncated archive": "truncated or damaged",
}


@pytest.mark.parametrize("what", hostile_files())
def test_a_hostile_file_is_one_line_of_a_model_error(tmp_path, what):
    path = tmp_path / "x.safetensors"
    path.write_bytes(hostile_files()[what])
    with pytest.raises(ModelError, match=r"^checkpoint ") as error:
        convert(path, tmp_path / "out", name="x")
    assert SAID.get(what, "") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(ModelError, match="cannot be read: not a regular file"):
        convert(tmp_path / "x.pt", tmp_path / "out", name="x")


def test_a_tensor_may_not_be_larger_than_what_is_stored_of_it(tmp_path):
    name = "encoder.SwanDNA_blocks.0.SwanDNA_blocks.9.mix.fc1.weight"
    torch.save({name: torch.zeros(1).expand(8000, 300)}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match="parameters are more than the bytes of the file"):
        convert(tmp_path / "x.pt", tmp_path / "out", name="x")
