"""Shards: their names, and the records of each."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.cells import CELL_BATCHES, GRID
from findna.config import ComputeConfig, RunConfig
from findna.errors import ConfigError, InputError
from findna.io.check import check_inputs
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.record import Record
from findna.runs.embed import EmbedJob
from findna.runs.shard import Shard, ShardCuts, unevenness


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({"RANK": "0", "WORLD_SIZE": "4"}, (1, 4)),
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (4, 4)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, (3, 8)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}, (3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "16"}, (3, 16)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "4",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "6",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "2",
            },
            (6, 8),
        ),
    ],
)
def test_auto_is_the_process_that_torchrun_srun_or_an_array_started(environment, shard):
    assert Shard.parse("auto", environment) == shard


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1 /4"])
def test_what_names_no_shard_is_refused(text):
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text, {})


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "1"},
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"SLURM_ARRAY_TASK_ID": "1"},
        {"RANK": "4", "WORLD_SIZE": "4"},
    ],
)
def test_auto_without_what_it_needs_is_refused(environment):
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse("auto", environment)


def cells_of(lengths, batch_bases):
    """Where cells end, by the rule as the documents say it."""
    ends, n_records, n_bases = [0], 0, 0
    for index, length in enumerate(lengths, start=1):
        n_records, n_bases = n_records + 1, n_bases + length
        if n_records == max(GRID, batch_bases // GRID) or n_bases >= CELL_BATCHES * batch_bases:
            ends.append(index)
            n_records = n_bases = 0
    return ends


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 900), max_size=600),
    n=st.integers(1, 9),
    batch_bases=st.integers(50, 2000) | st.integers(20_000, 60_000),
)
def test_shards_follow_each_other_are_cut_where_cells_end_and_have_about_as_many_bases(lengths, n, batch_bases):
    cuts = ShardCuts(batch_bases)
    for length in lengths:
        cuts.add(length)
    parts = [cuts.part(Shard(number, n)) for number in range(1, n + 1)]
    assert [index for part in parts for index in part.records] == list(range(len(lengths)))
    ends = cells_of(lengths, batch_bases)
    assert all(part.first in ends for part in parts if part.n_records)
    largest = max((sum(lengths[a:b]) for a, b in zip(ends, [*ends[1:], len(lengths)], strict=True)), default=0)
    for part in parts:
        assert part.n_bases == sum(lengths[index] for index in part.records)
        assert part.n_bases <= sum(lengths) / n + largest
        assert part.n_total == len(lengths)


@pytest.mark.parametrize("max_n", [1.0, 0.2])
def test_the_first_pass_counts_the_bases_that_will_be_read(write, genome_path: Path, max_n):
    bed = write("a.bed", "chr1\t0\t90\nchr9\t0\t5\nchr1\t10\t60\nchr2\t0\t70\nchr1\t0\t90\nchr2\t3\t33\n")
    fasta = write("b.fa", ">x\nACGTN\n>y\n\n>x\nAC\n>z\nNNNNA\n")
    inputs, options = [str(bed), str(fasta)], InputOptions(genome=genome_path, max_n=max_n)
    told: list[int] = []
    summary = check_inputs(inputs, options, on_record=told.append)
    items = list(read_records(inputs, options))
    assert told == [0 if isinstance(item, InputError) else len(item.codes) for item in items]
    assert summary.n_records == len(items) == 10
    assert sum(summary.problems.values()) == sum(isinstance(item, InputError) and item.is_fatal for item in items) == 4


def same(a, b):
    if isinstance(a, Record):
        return a[0] == b[0] and np.array_equal(a.codes, b.codes) and a[2:] == b[2:]
    return str(a) == str(b)


def test_a_part_of_the_records_is_what_stands_there_in_the_whole(write, genome_path: Path):
    bed = write("a.bed", "chr1\t0\t90\nchr9\t0\t5\nchr1\t0\t90\nchr2\t0\t70\nchr1\t0\t90\n")
    fasta = write("b.fa", ">x\nACGTN\n>y\n\n>x\nAC\n>z\nNNNNA\n")
    inputs, options = [str(bed), str(fasta), "chr1:1-9"], InputOptions(genome=genome_path)
    whole = list(read_records(inputs, options))
    assert [item.id for item in whole if isinstance(item, Record)][1] == "chr1:0-90(.)_2"
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            part = list(read_records(inputs, options, wanted=range(start, stop)))
            assert len(part) == stop - start
            assert all(map(same, part, whole[start:stop]))


def test_what_contradicts_a_shard_or_several_processes_is_refused():
    def refuse(text, inputs=("a.fa",), device="auto", output_format="h5", **run):
        with pytest.raises(ConfigError, match=text):
            EmbedJob(
                list(inputs),
                Path("a.h5"),
                output_format=output_format,
                compute=ComputeConfig(device=device),
                run=RunConfig(**run),
            )

    refuse("findna merge turns into tsv", output_format="tsv", shard="1/2")
    refuse("stdin can be read only once, and shard=1/2 reads its input again: give a file", inputs="-", shard="1/2")
    refuse("stdin can be read only once, and more than one process", inputs="-", workers=2)
    refuse("stdin can be read only once, and more than one process", inputs="-", gpus=2)
    refuse("workers=2 is for the CPU, and device=cuda is not", workers=2, device="cuda")
    refuse("gpus=1 contradicts device=cpu", gpus=1, device="cpu")
    refuse("give workers or gpus", workers=2, gpus=2)


@pytest.mark.parametrize(
    ("n_records", "n_shards", "text"),
    [
        (
            11,
            3,
            "2 of 3 are empty, and the largest has 100 % of the bases. findna divides the input only between groups "
            "of up to 128 records. Use fewer shards",
        ),
        (11, 2, ": 1 of 2 is empty, and "),
        (11, 1, ""),
        (12_800, 50, ""),
        (700, 4, ""),
    ],
)
def test_shards_that_are_uneven_are_named(n_records: int, n_shards: int, text: str) -> None:
    cuts = ShardCuts(16_384)
    for _ in range(n_records):
        cuts.add(10)
    assert text in (found := unevenness(cuts.parts(n_shards), 16_384))
    assert bool(text) == bool(found)


def test_a_large_record_makes_its_shard_uneven() -> None:
    cuts = ShardCuts(16)
    for n_bases in (100, 5000, 100, 100):
        cuts.add(n_bases)
    assert unevenness(cuts.parts(3), 16).startswith("the shards are uneven: ")
    cuts = ShardCuts(16)
    for n_bases in (5000, 100, 100):
        cuts.add(n_bases)
    assert unevenness(cuts.parts(3), 16).endswith(" has 96 % of the bases. A record is not divided. Use fewer shards")


def test_shards_without_bases_have_no_largest() -> None:
    cuts = ShardCuts(16)
    cuts.add(0)
    assert unevenness(cuts.parts(2), 16).startswith("the shards are uneven: 1 of 2 is empty. ")
