"""README and the pages of docs: their Python examples run, in their order, and the commands are the ones that are promised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(page for page in (ROOT / "docs").glob("*.md") if "```python" in page.read_text(encoding="utf-8"))]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTED = {"evaluation": "nats a row", "README": "nats a case", "boltzmann": "(8, 8)"}
COMMANDS = [
    'python3 -m venv .venv && .venv/bin/pip install ".[plot]" && .venv/bin/python -m fastbm demo',
    'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest',
]


def python_blocks(text: str) -> list[str]:
    """Return the Python blocks, each after as many empty lines as make its line numbers those of the text."""
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in PYTHON_BLOCK.finditer(text)]


def test_blocks_are_found_where_they_stand():
    text = "# Title\n```python\na = 1\n```\n```bash\nls\n```\n```python\nb = 2\n```\n"
    assert python_blocks(text) == ["\n\na = 1\n", "\n" * 8 + "b = 2\n"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_blocks_run(page, tmp_path, monkeypatch, request, capsys):
    """Those for a GPU on one, or on its stand-in; they are skipped where there is neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    blocks = python_blocks(page.read_text(encoding="utf-8"))
    assert blocks, f"{page.name} has no ```python block"
    names = {"__name__": "__main__"}
    for block in sorted(blocks, key=lambda block: "cuda" in block):
        if "cuda" in block:
            request.getfixturevalue("gpu")
        exec(compile(block, str(page), "exec", dont_inherit=True), names)
    assert PRINTED.get(page.stem, "") in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_there(command):
    assert command in README.read_text(encoding="utf-8")
