"""Networks and batches on which the ways of `findna.nn.kernels` are compared with the CPU's path.

Triton's interpreter must be chosen before Triton is imported, hence the other process.
"""

import dataclasses
import itertools
import math
import os
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from findna.data.batch import pack
from findna.nn import kernels
from findna.nn.chordmixer import ChordMixer, extended, initialise
from findna.nn.device import FP32, Precision
from findna.sizes import ModelConfig

TINY = ModelConfig(channels=44, hidden=64, track_width=4, n_layers=1, max_len=34, n_class_tokens=3)
NETWORKS = {
    "tiny": TINY,
    "published width": ModelConfig(n_layers=1, max_len=4, n_class_tokens=3),  # five tiles, the last one cut
    "two-sided": dataclasses.replace(TINY, shift_layout="mixed"),
    "odd width": ModelConfig(channels=70, hidden=48, track_width=9, n_layers=2, max_len=8, n_class_tokens=2),
    "extended": ModelConfig(channels=44, hidden=64, track_width=4, n_layers=1, max_len=16, n_class_tokens=3),
}
COARSE_STREAM = Precision("", torch.float32, torch.bfloat16)
"""What the interpreter can do of bf16: its products go wrong."""
LENGTHS = (1, 20, 7, 7)
"""Of a batch's sequences: the largest shift, 512 of eleven tracks, is longer than any."""


def network_of(case: str) -> ChordMixer:
    network = initialise(ChordMixer(NETWORKS[case]), 1)
    return initialise(extended(network, 60), 2) if case == "extended" else network


def batch_of(network: ChordMixer):
    """Codes with N and masked bases, (T,); rings; noise (T, 5)."""
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 6, size=n, dtype=np.uint8) for n in LENGTHS]
    batch = pack(sequences, n_class_tokens=network.config.n_class_tokens)
    noise = 0.2 * rng.standard_normal((len(batch.codes), 5))
    return torch.from_numpy(batch.codes), batch.rings, torch.from_numpy(noise).float()


def hidden_states(network, codes, rings, *, way, noise=None, precision=FP32, depths=(), dropout=0.0):
    """Through a way of `findna.nn.kernels`, whatever the environment says; or "columns", the path of a CPU."""
    if way == "columns":
        assert codes.device.type == "cpu"
        return network(codes, rings, noise=noise, precision=precision, blocks=depths, dropout=dropout)
    found = kernels.find_way(way)
    return network.on_rows(
        codes, rings, depths=network.depths(depths), noise=noise, precision=precision, way=found, dropout=dropout
    )


def values_of(case, way, *, device="cpu", precision=FP32, with_noise=False, dropout=0.0):
    """Hidden states after the first and the last block, and the gradient of every weight of one random sum of them."""
    network = network_of(case).to(device)
    codes, rings, noise = batch_of(network)
    noise = noise.to(device) if with_noise else None
    torch.manual_seed(2)  # of the masks of dropout
    hidden = hidden_states(
        network,
        codes.to(device),
        rings,
        way=way,
        noise=noise,
        precision=precision,
        depths=(1, len(network.blocks)),
        dropout=dropout,
    )
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)).to(device)
    parameters = {key: p for key, p in network.named_parameters() if not key.startswith("head")}
    gradients = torch.autograd.grad((hidden * weights).sum(), list(parameters.values()))
    values = {"hidden states": hidden, **dict(zip(parameters, gradients, strict=True))}
    return {key: value.detach().cpu() for key, value in values.items()}


def differences(case, way, *, device="cpu", precision=FP32, with_noise=False, dropout=0.0):
    """Of hidden states and gradients, how far they are from those of the CPU in float32, as a share of the norm.

    With dropout, from those of torch on the device, which draws the same masks.
    """
    way_of_truth = ("plain", {"device": device, "dropout": dropout}) if dropout else ("columns", {})
    expected = values_of(case, way_of_truth[0], with_noise=with_noise, **way_of_truth[1])
    found = values_of(case, way, device=device, precision=precision, with_noise=with_noise, dropout=dropout)
    assert found.keys() == expected.keys()
    return {key: float((found[key] - value).norm() / value.norm()) for key, value in expected.items()}


def alone_and_together(case, way, *, device="cpu", precision=FP32):
    """Hidden states of each sequence alone, without a gradient, and in one batch, with one."""
    network = network_of(case).to(device)
    codes, rings, _ = batch_of(network)
    codes = codes.to(device)
    together = hidden_states(network, codes, rings, way=way, precision=precision).detach().cpu()
    pairs = []
    for start, end in itertools.pairwise(rings):
        with torch.inference_mode():
            alone = hidden_states(network, codes[start:end], np.array([0, end - start]), way=way, precision=precision)
        pairs.append((alone.cpu().numpy(), together[start:end].numpy()))
    return pairs


_JUMP, _LOCAL = re.compile(r"\bBRA\b.*[`(.](L_\w+)"), re.compile(r"\b(LDL|STL)\b")


class Compiled(NamedTuple):
    """What a compiler made of a kernel.

    Args:
        shared: Bytes of shared memory of a program.
        registers: Of a thread.
        spills: Bytes of registers that a thread stores in local memory.
        n_in_loop: Instructions in a loop that read or write local memory.
        layouts: `warpsPerCTA` of the products.
    """

    shared: int
    registers: int
    spills: int
    n_in_loop: int
    layouts: frozenset[tuple[int, ...]]


def compiled(config: ModelConfig, *, capability: int, stream: str = "fp32", is_dropped: bool = False) -> list[Compiled]:
    """Both kernels of a size, compiled by Triton for a GPU that need not be present."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from findna.nn import fused

    tilings = fused.LARGE if capability in (90, 100) else fused.SMALL
    width = math.ceil(config.channels / fused.TILE) * fused.TILE
    found = []
    for kernel, tiling in zip((fused.forward_kernel, fused.backward_kernel), tilings, strict=True):
        values = {
            "channels": config.channels,
            "width": width,
            "hidden": config.hidden,
            "track_width": config.track_width,
            "n_tracks": len(config.tracks(0).shifts),
            "vector": math.gcd(config.channels, config.track_width, 4),
            "is_saved": True,
            "is_dropped": is_dropped,
            "tile": fused.tile_of(width),
            "positions": tiling.positions,
            "step": tiling.hidden,
        }
        types = dict.fromkeys(("h", "out", "grad", "dh"), f"*{stream}") | {"target": "*i32", "n": "i32"}
        types |= {"db1": "*fp32", "db2": "*fp32", "scale": "fp32", "kept_inner": "*u8", "kept_update": "*u8"}
        signature = {name: "constexpr" if name in values else types.get(name, "*bf16") for name in kernel.arg_names}
        constants = {name: value for name, value in values.items() if name in signature}
        aligned = {
            (index,): [["tt.divisibility", 16]] for index, kind in enumerate(signature.values()) if kind.startswith("*")
        }
        source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
        options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
        found.append(_facts(triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)))
    return found


def _facts(kernel) -> Compiled:
    """Read the assembler's own account of the kernel; the assembler comes with Triton and needs no GPU."""
    from triton import knobs
    from triton.backends.nvidia.compiler import get_ptxas

    ptx = kernel.asm["ptx"]
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)[1]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [get_ptxas(kernel.metadata.target.arch).path, "-v", f"--gpu-name={target}", file.name]
        told = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True, check=True).stderr
        Path(file.name).write_bytes(kernel.asm["cubin"])
        command = [knobs.nvidia.nvdisasm.path, "-c", file.name]
        machine_code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spills = re.search(r"(\d+) bytes spill stores", told)[1]
    registers = re.search(r"Used (\d+) registers", told)[1]
    layouts = re.findall(r"#ttg\.nvidia_mma<.*warpsPerCTA = \[([\d, ]+)\]", kernel.asm["ttgir"])
    warps = frozenset(tuple(map(int, layout.split(","))) for layout in layouts)
    return Compiled(kernel.metadata.shared, int(registers), int(spills), _n_in_loops(machine_code), warps)


def _n_in_loops(machine_code: str) -> int:
    """Loads from and stores to local memory between a label and a jump back to it.

    What follows the last EXIT waits for barriers, and jumps back to where it was called from. That is not a loop.
    """
    lines = machine_code.rpartition("EXIT")[0].splitlines()
    labels = {line.partition(":")[0]: i for i, line in enumerate(lines) if line.startswith(".L")}
    jumps = [(i, labels.get(f".{match[1]}", i)) for i, line in enumerate(lines) if (match := _JUMP.search(line))]
    inside = {i for end, begin in jumps for i in range(begin, end)}
    return sum(bool(_LOCAL.search(lines[i])) for i in inside)


def process(**environment: str) -> ProcessPoolExecutor:
    """A process with an environment of its own from its start on."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(environment,))


def _begin(environment) -> None:
    os.environ |= environment
    torch.set_num_threads(1)
