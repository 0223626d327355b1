"""Every command does its work in a network namespace without interfaces."""

import ctypes
import shlex
import sys
from pathlib import Path

import pytest
from command import call, fasta, fork

from findna_cli.app import app

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
NOT_PERMITTED = 77
RUN = "-m M --precision fp32 -t 1"
LINES = f"""
0 embed in.bed -g g.fa {RUN} -o v.h5
0 embed in.bed -g g.fa {RUN} --shard 1/1 -o p.h5
0 split in.bed -g g.fa -n 2 -o plan.json
0 merge p.h5 -o all.h5
0 view v.h5
0 verify v.h5 -m M -t 1
0 predict-bases in.bed -g g.fa {RUN} -o b.h5
0 mutagenesis in.bed -g g.fa {RUN} -o m.h5
0 score in.vcf -g g.fa {RUN} --window 50 --max-length 2 -o s.vcf
0 finetune t.csv -m M --frozen --out task -t 1
0 classify in.fa --task task -o c.tsv -t 1
0 pretrain w.fa --preset tiny --batch-size 2 --min-length 30 --steps 2 --n-reports 2 --holdout w0 --out run -t 1
0 model list
0 model info M
0 model verify M
0 model convert --help
0 task list
0 task info task
0 data audit t.csv
0 data windows g.fa --max-length 40 --min-length 20 --n 5 --out win.fa
0 doctor -m M
0 benchmark --help
1 data fetch hg38
1 model pull some/model
0 plot v.h5 -o v.png
0 help embed
"""


def run_lines(lines: str) -> None:
    """The job of a process of its own: it leaves the network, and runs each line of a file."""
    if ctypes.CDLL(None).unshare(NEW_USER | NEW_NETWORK):
        sys.exit(NOT_PERMITTED)
    for line in Path(lines).read_text().splitlines():
        code, *words = shlex.split(line)
        result = call(*words)
        assert result.code == int(code), (line, result)
        assert "internal error" not in result.err, (line, result)


@pytest.mark.early
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_every_command_works_without_a_network(tmp_path: Path, model: Path, bases: dict[str, str]) -> None:
    files = {
        "g.fa": fasta(bases),
        "in.bed": "chr1\t100\t160\nchr2\t10\t50\nchr1\t200\t260\n",
        "in.fa": ">a\nACGTACGT\n",
        "in.vcf": "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t500\t.\t{bases['chr1'][499].upper()}\t<DEL>\t.\t.\t.\n",
        "t.csv": "sequence,label\n"
        + "".join(f"{bases['chr1'][i : i + 40]},{'ab'[i % 80 // 40]}\n" for i in range(0, 1600, 40)),
        "w.fa": "".join(f">w{i}\n{bases['chr1'][i : i + 90]}\n" for i in range(0, 1800, 60)),
        "lines": "".join(line + "\n" for line in LINES.replace(" M", f" {model}").strip().splitlines()),
    }
    for name, text in files.items():
        Path(name).write_text(text)
    process = fork("lines", job="run_lines", module="test_offline")
    error = process.communicate()[1].decode()
    if process.returncode == NOT_PERMITTED:
        pytest.skip("network namespaces are not permitted here")
    assert process.returncode == 0, error[-2000:]
    commands = {line.split()[1] for line in LINES.strip().splitlines()}
    assert commands >= {command.name for command in app.registered_commands} | {"model", "task", "data", "benchmark"}
