"""README and the pages of docs: their Python examples run, in their order, and the commands are the ones that are promised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fastbm import device

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(page for page in (ROOT / "docs").glob("*.md") if "```python" in page.read_text(encoding="utf-8"))]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTED = {"evaluation": "nats a row", "README": "nats a case", "boltzmann": "(8, 8)"}
SHORTER = {
    "README": {
        "n_iter=100, batch_size=50, learning_rate=1e-3": "n_iter=2",
        "n_iter=60, batch_size=50, learning_rate=1e-3": "n_iter=2",
    },
    "gan": {"n_iter=100, batch_size=50, learning_rate=1e-3": "n_iter=2"},
    "deep": {"n_iter=60,  # greedy": "n_iter=6,  # greedy", "up_down_n_iter=60": "up_down_n_iter=6"},
}
"""Settings of examples that take ten seconds or more, and what replaces them; a slow test runs them as they are written."""
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


def shortened(text: str, page: Path) -> str:
    """Return the text with fewer passes where its examples take long; the settings must stand in it."""
    for settings, fewer in SHORTER.get(page.stem, {}).items():
        assert settings in text
        text = text.replace(settings, fewer)
    return text


def as_written(text: str, page: Path) -> str:
    return text


@pytest.mark.parametrize(
    ("page", "version"),
    [(page, shortened) for page in PAGES]
    + [pytest.param(page, as_written, marks=pytest.mark.slow) for page in PAGES if page.stem in SHORTER],
    ids=lambda value: value.stem if isinstance(value, Path) else value.__name__,
)
def test_the_python_blocks_run(page, version, tmp_path, monkeypatch, request, capsys):
    """Those for a GPU on one, or on its stand-in; they are skipped where there is neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    blocks = python_blocks(version(page.read_text(encoding="utf-8"), page))
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


def test_the_install_line_of_cupy_is_that_of_the_error():
    """README, the error for device="cuda" and the extras name the same packages."""
    packages = re.findall(r"cupy-cuda\d+x", device.INSTALL)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [re.match(r"[\w-]+", extras[name][0])[0] for name in ("gpu", "gpu12")] == packages
    assert f"`pip install {packages[0]}` (CUDA 13) or `{packages[1]}` (CUDA 12)" in README.read_text(encoding="utf-8")
