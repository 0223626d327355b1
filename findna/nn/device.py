"""Which device and which precision a run takes."""

import torch

from findna.errors import ConfigError


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()  # a device without data ("meta") has nothing to copy
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].partition(", ipu")[0]
        raise ConfigError(f"device {name!r} is not to be had here: {reason} (auto, cpu, cuda, cuda:1, mps)") from error
    return device


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


def pick_products(precision: str, device: torch.device) -> torch.dtype:
    """Type of the matrix products: "auto" is bf16 where the device has it, else float32.

    >>> pick_products("bf16", torch.device("cpu"))
    torch.bfloat16

    Raises:
        ConfigError: No such precision.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"precision must be auto, fp32 or bf16, not {precision!r}")
    is_bf16 = precision == "bf16" or (precision == "auto" and has_native_bf16(device))
    return torch.bfloat16 if is_bf16 else torch.float32
