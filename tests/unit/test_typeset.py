"""The hook of the documentation site."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def typeset() -> ModuleType:
    path = Path(__file__).parents[2] / "docs/tools/typeset.py"
    spec = importlib.util.spec_from_file_location("typeset", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<code>findna --max-n 0</code>", '<code>findna <span class="whole">--max-n</span> 0</code>'),
        ("<p>unless --max-n is given</p>", '<p>unless <span class="whole">--max-n</span> is given</p>'),
        ("<p>36,077 (19.7 %)</p>", '<p>36,077 (<span class="whole">19.7 %</span>)</p>'),
        ("<p>835 MB, 31-mers</p>", '<p><span class="whole">835 MB</span>, <span class="whole">31-mers</span></p>'),
        ("<pre><code>--max-n 31-mers</code></pre>", None),
        ('<a title="835 MB">half-open</a>', None),
        (f"<code>{'a-' * 20}</code>", None),
        (f"<td>{'a ' * 20}a</td><td>a</td>", f'<td><div class="long">{"a " * 20}a</div></td><td>a</td>'),
        (f"<td>{' ' * 50}{'<b>a</b> ' * 20}</td>", None),
    ],
)
def test_words_and_units_stay_whole_in_text_and_cells_with_a_sentence_are_marked(
    typeset: ModuleType, html: str, expected: str | None
) -> None:
    assert typeset.on_page_content(html, page=None) == (expected or html)


def test_the_settings_of_a_class_become_a_table(typeset: ModuleType) -> None:
    page = typeset.on_page_markdown("## Run\n\nsettings: findna.config.RunConfig\n\n", page=None)
    assert page.startswith("## Run\n\n| setting | default | meaning |\n|---|---|---|\n| `on_error` | `'fail'` |")
    assert "| `workers` | `1` | Number of processes" in page
    assert page.endswith(" |\n\n")
