"""Settings: one place for help, range and choices, which flags, checks and the API follow."""

import dataclasses
import inspect

import pytest

import findna
from findna.config import ClassifyConfig, ComputeConfig, EmbedConfig, RunConfig
from findna.data.options import WindowsConfig
from findna.errors import ConfigError
from findna.io.options import InputOptions
from findna.recipes import FinetuneConfig, PretrainConfig
from findna.settings import problems_of, setting, settings_of

CONFIGS = (EmbedConfig, ClassifyConfig, ComputeConfig, RunConfig, InputOptions)


@dataclasses.dataclass(frozen=True)
class Example:
    share: float = setting(0.5, "A fraction.", least=0, most=1)
    count: int = setting(1, "A number.", above=0)
    size: int | None = setting(None, "Bases.", least=2)


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({}, []),
        ({"share": 1.5, "count": 0}, ["share must lie in 0 to 1, not 1.5", "count must be positive, not 0"]),
        ({"share": float("nan")}, ["share must lie in 0 to 1, not nan"]),
        ({"size": 1}, ["size must be at least 2, not 1"]),
        ({"count": 1.5}, ["count must be a whole number, not 1.5"]),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(settings, problems):
    assert problems_of(Example(**settings)) == problems


@pytest.mark.parametrize("name", ["workers", "gpus"])
def test_a_run_has_a_limited_number_of_processes(name):
    with pytest.raises(ConfigError, match=rf"{name} must lie in \d to 1,024, not 100000"):
        RunConfig(**{name: 100_000})


@pytest.mark.parametrize("config", [*CONFIGS, PretrainConfig, FinetuneConfig, WindowsConfig])
def test_each_setting_has_help_and_a_default_in_range(config):
    for name, (_, _, about) in settings_of(config).items():
        assert about.help.endswith("."), name
    assert problems_of(config()) == []


def test_settings_stand_in_signature_and_docstring_and_others_are_refused():
    parameters = inspect.signature(findna.embed_file).parameters
    assert (parameters["max_n"].default, parameters["max_n"].annotation) == (1.0, float)
    assert "        max_n: Skip records" in (findna.embed_file.__doc__ or "")
    assert "settings" not in parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'poool'"):
        findna.embed(["ACGT"], poool="mean")
    with pytest.raises(ConfigError, match="batch_bases must be 0 or more"):
        findna.embed(["ACGT"], batch_bases=-1)
