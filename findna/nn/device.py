"""Which device and which precision a run takes."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from findna.errors import ConfigError


class Precision(NamedTuple):
    """Types of a network's matrix products, and of the residual stream that their results are added to."""

    name: str
    products: torch.dtype
    stream: torch.dtype

    def facts(self) -> dict[str, str]:
        """What a run's record says of it; of a stream in float32, nothing."""
        kinds = {"products": self.products} | ({"stream": self.stream} if self.stream != torch.float32 else {})
        return {what: str(kind).removeprefix("torch.") for what, kind in kinds.items()}


FP32 = Precision("fp32", torch.float32, torch.float32)
BF16 = Precision("bf16", torch.bfloat16, torch.float32)
BF16_STREAM = Precision("bf16-stream", torch.bfloat16, torch.bfloat16)
PRECISIONS = {precision.name: precision for precision in (FP32, BF16, BF16_STREAM)}


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():  # a tensor would make a context on that GPU
            if (device.index or 0) < torch.cuda.device_count():
                return device
            raise RuntimeError(f"there are {torch.cuda.device_count()} GPUs, from cuda:0 on")
        torch.empty(0, device=device).cpu()  # a device without data ("meta") has nothing to copy
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].partition(", ipu")[0]
        raise ConfigError(f"device {name!r} is not available here: {reason} (auto, cpu, cuda, cuda:1, mps)") from error
    return device


def pick_batch_bases(asked: int, device: torch.device) -> int:
    """Bases in a batch: those asked for, or for 0 as many as keep the device busy between two calls."""
    return asked or (131_072 if device.type == "cuda" else 16_384)


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware, rather than by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12 knows of x86 only
            return torch.cpu._is_avx512_bf16_supported()
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return False


def pick_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name; "auto" is bf16 where the device has it, else fp32.

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


def put(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; a GPU goes on with the work that it has, and the caller does not wait for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
