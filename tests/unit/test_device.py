"""Device and precision: what is refused, what auto takes."""

import pytest
import torch

from findna.errors import ConfigError
from findna.nn.device import BF16, FP32, has_native_bf16, pick_batch_bases, pick_device, pick_precision


def test_auto_is_the_gpu_where_there_is_one():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta"])
def test_a_device_that_is_not_here_is_refused_in_one_line(name):
    with pytest.raises(ConfigError) as error:
        pick_device(name)
    assert f"; {name!r} is not available here" in str(error.value)
    assert "\n" not in str(error.value)


def test_auto_precision_is_bf16_only_where_the_device_has_it():
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) == FP32
    assert pick_precision("bf16", cpu).facts() == {"products": "bfloat16"}
    assert pick_precision("bf16-stream", cpu).facts() == {"products": "bfloat16", "stream": "bfloat16"}
    assert pick_precision("auto", cpu) == (BF16 if has_native_bf16(cpu) else FP32)
    assert not has_native_bf16(torch.device("meta"))
    with pytest.raises(ConfigError, match="precision must be auto, fp32, bf16, bf16-stream, not 'fp16'"):
        pick_precision("fp16", cpu)


def test_a_gpu_gets_larger_batches_where_none_are_asked_for():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [pick_batch_bases(asked, device) for asked in (0, 7) for device in (cpu, gpu)] == [16_384, 131_072, 7, 7]
