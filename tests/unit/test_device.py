"""Device and precision: what is refused, what auto takes."""

import pytest
import torch

from findna.errors import ConfigError
from findna.nn.device import has_native_bf16, pick_device, pick_products


def test_auto_is_the_gpu_where_there_is_one():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta"])
def test_a_device_that_is_not_here_is_refused_in_one_line(name):
    with pytest.raises(ConfigError) as error:
        pick_device(name)
    assert str(error.value).startswith(f"device {name!r} is not to be had here: ")
    assert "\n" not in str(error.value)


def test_auto_precision_is_bf16_only_where_the_device_has_it():
    cpu = torch.device("cpu")
    assert pick_products("fp32", cpu) == torch.float32
    assert pick_products("bf16", cpu) == torch.bfloat16
    assert pick_products("auto", cpu) == (torch.bfloat16 if has_native_bf16(cpu) else torch.float32)
    assert not has_native_bf16(torch.device("meta"))
    with pytest.raises(ConfigError, match="precision must be auto, fp32 or bf16, not 'fp16'"):
        pick_products("fp16", cpu)
