"""`findna doctor`: what is installed, what the machine can do, and what is missing."""

import typer

from findna_cli.options import Json, ModelName, Quiet

_OPTIONAL = {
    "pyarrow": "parquet",
    "tensorboard": "train",
    "sklearn": "bench",
    "matplotlib": "bench",
    "huggingface_hub": "hub",
    "pooch": "data",
    "anndata": "dev",
}


def doctor(
    json_file: Json = None,
    quiet: Quiet = False,
    model: ModelName = None,
) -> None:
    """Check versions, devices and the default model.

    Exit code 1: the model failed the check.
    """
    from findna_cli.console import show, write_report
    from findna_cli.model import print_checks, verify_report

    facts = machine_facts()
    if not quiet:
        for name, value in facts.items():
            show(f"{name:16} {value}")
    name, checks = verify_report(model or "", device="auto", precision="auto")
    if not quiet:
        print_checks(name, checks)
    write_report(json_file, {"machine": facts, "model": name, "checks": checks})
    if not all(check["ok"] for check in checks):
        raise typer.Exit(1)


def machine_facts() -> dict[str, str]:
    """Versions, devices and folders, by name."""
    import importlib.util
    import platform
    from importlib.metadata import version

    import torch

    from findna import __version__
    from findna.cpus import n_cpus
    from findna.io.cache import cache_dir
    from findna.nn.device import has_native_bf16, pick_device

    device = pick_device()
    facts = {"findna": __version__, "python": platform.python_version(), "system": platform.platform()}
    facts |= {name: version(name) for name in ("torch", "numpy", "h5py", "pysam", "biopython", "safetensors")}
    facts["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    facts["threads"] = str(n_cpus())
    facts["native bf16"] = "yes" if has_native_bf16(device) else "no: --precision auto takes fp32"
    facts["cache"] = str(cache_dir())
    for package, extra in _OPTIONAL.items():
        is_there = importlib.util.find_spec(package) is not None
        facts[package] = "installed" if is_there else f"not installed: pip install 'findna[{extra}]'"
    return facts
