"""The device and the precision of a run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from findna.config import ComputeConfig
from findna.cpus import n_cpus
from findna.errors import ConfigError
from findna.limits import batch_bases_on
from findna.settings import make


class Precision(NamedTuple):
    """Types of a network's matrix products and of its residual stream."""

    name: str
    products: torch.dtype
    stream: torch.dtype

    def facts(self) -> dict[str, str]:
        """The entry in the facts of a run; none for a stream in float32."""
        kinds = {"products": self.products} | ({"stream": self.stream} if self.stream != torch.float32 else {})
        return {what: str(kind).removeprefix("torch.") for what, kind in kinds.items()}


FP32 = Precision("fp32", torch.float32, torch.float32)
BF16 = Precision("bf16", torch.bfloat16, torch.float32)
BF16_STREAM = Precision("bf16-stream", torch.bfloat16, torch.bfloat16)
PRECISIONS = {precision.name: precision for precision in (FP32, BF16, BF16_STREAM)}


def check_gpus(n: int) -> None:
    """Check that this host has at least n GPUs.

    Raises:
        ConfigError: It has fewer.
    """
    if n and not (torch.version.cuda or torch.version.hip):
        raise ConfigError(f"gpus={n}: this PyTorch has no CUDA")
    if n > torch.cuda.device_count():
        raise ConfigError(f"gpus={n}: this host has {torch.cuda.device_count()}")


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU, else the CPU.

    Raises:
        ConfigError: The device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():  # a tensor would create a context on that GPU
            if (device.index or 0) < torch.cuda.device_count():
                return device
            raise RuntimeError(f"there are {torch.cuda.device_count()} GPUs, from cuda:0 on")
        torch.empty(0, device=device).cpu()  # a device without data ("meta") has nothing to copy
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = "" if "Expected one of" in str(error) else f": {str(error).splitlines()[0]}"
        raise ConfigError(
            f"device must be auto, cpu, cuda, cuda:1 or mps; {name!r} is not available here{reason}"
        ) from error
    return device


def pick_batch_bases(asked: int, device: torch.device) -> int:
    """Bases per batch: the given number, or for 0 enough to keep the device busy between calls."""
    return asked or batch_bases_on(device.type)


@cache
def has_amx() -> bool:
    """Whether the CPU has AMX; False if torch is older than 2.12, which does not report it."""
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware, not through float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12 has this for x86 only
            return torch.cpu._is_avx512_bf16_supported()
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return False


def pick_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name; "auto" is bf16 if the device has it, else fp32.

    >>> pick_precision("bf16", torch.device("cpu")).products
    torch.bfloat16

    Raises:
        ConfigError: No such precision.
    """
    if name == "auto":
        return BF16 if has_native_bf16(device) else FP32
    if name not in PRECISIONS:
        raise ConfigError(f"precision must be auto, {', '.join(PRECISIONS)}, not {name!r}")
    return PRECISIONS[name]


@dataclass(frozen=True)
class Compute:
    """Where and how networks run.

    Args:
        device: Where they run.
        precision: Of the matrix products and the residual stream.
        batch_bases: Bases per batch; 0: suited to the device.
        threads: CPU threads per process; 0: torch's default.
    """

    device: torch.device
    precision: Precision
    batch_bases: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_bases", pick_batch_bases(self.batch_bases, self.device))
        object.__setattr__(self, "threads", self.threads or torch.get_num_threads())

    def facts(self) -> dict[str, str]:
        """The entry in an output: the kind of device, and the precision."""
        return {"device": self.device.type, "precision": self.precision.name}

    def __str__(self) -> str:
        return f"{self.device}, {self.precision.name}"

    @classmethod
    def pick(cls, device: str = "auto", precision: str = "auto", *, batch_bases: int = 0, threads: int = 0) -> Self:
        """The device and the precision of these names; see `pick_device` and `pick_precision`.

        Raises:
            ConfigError: The device or the precision does not exist here.
        """
        where = pick_device(device)
        return cls(where, pick_precision(precision, where), batch_bases, threads)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The choice from those settings that belong to `ComputeConfig`; see `pick`."""
        asked = make(ComputeConfig, settings)
        return cls.pick(asked.device, asked.precision, batch_bases=asked.batch_bases)

    @classmethod
    def begin(cls, asked: ComputeConfig) -> Self:
        """The choice from settings; also configures torch's threads and kernels; see `pick` and `set_threads`."""
        set_threads(asked.threads, deterministic=asked.deterministic)
        return cls.pick(asked.device, asked.precision, batch_bases=asked.batch_bases, threads=asked.threads)


def set_threads(n_threads: int = 0, *, deterministic: bool = False) -> None:
    """Set torch's number of CPU threads (0: all available) and whether kernels must be deterministic."""
    torch.set_num_threads(n_threads or n_cpus())
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # findna reads nothing that it has not written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def put(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; on a GPU, the copy is asynchronous."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
