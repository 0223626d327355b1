"""Settings in messages become the flags of the command that was called."""

import pytest
import typer

from findna_cli.app import app
from findna_cli.translate import with_flags


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["embed"], "a.h5: exists already; force=True replaces it", "a.h5: exists already; --force replaces it"),
        (["--debug", "embed", "a.fa"], "on_error=skip omits it", "--on-error skip omits it"),
        (["embed"], "max_n must lie in 0 to 1, not nan", "--max-n must lie in 0 to 1, not nan"),
        (["embed"], "strand must be bed, +, - or both, not 'x'", "--strand must be bed, +, - or both, not 'x'"),
        (["embed"], "a window of 51 bases", "a window of 51 bases"),
        (["embed"], "shard=0/3: there is no shard 0", "--shard 0/3: there is no shard 0"),
        (["embed"], "no_setting=False stays as it is", "no_setting=False stays as it is"),
        (["view"], "the same command with resume=True continues it", "the same command with --resume continues it"),
        (["finetune"], "it needs class_tokens=False", "it needs --no-class-tokens"),
        (
            ["embed"],
            'strand: "bed" now, not given before; n: 3 now, 2 before',
            '--strand: "bed" now, not given before; n: 3 now, 2 before',
        ),
        (["merge"], "max_n is 0.1, there 0.2; pool is 1, there 2", "--max-n is 0.1, there 0.2; --pool is 1, there 2"),
        (
            ["merge"],
            'shards.n is 5, there 4; findna is "2", there "1"',
            'shards.n is 5, there 4; findna is "2", there "1"',
        ),
        (["model", "list"], "batch_bases must be 0 or more", "batch_bases must be 0 or more"),
    ],
)
def test_a_setting_becomes_its_flag(words: list[str], text: str, expected: str) -> None:
    assert with_flags(text, typer.main.get_command(app), words, is_config=True) == expected


def test_what_a_file_holds_stays_as_it_is_there() -> None:
    text = "max_n/a.bed, 'max_n': window must be a number; force=True replaces it, or lower max_n"
    found = with_flags(text, typer.main.get_command(app), ["embed"], is_config=False)
    assert found == "max_n/a.bed, 'max_n': window must be a number; --force replaces it, or lower --max-n"
