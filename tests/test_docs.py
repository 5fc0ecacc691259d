"""What the documentation shows runs as shown."""

import doctest
import importlib
import pathlib
import re

import keras
import numpy as np
import pytest

import aux_keras

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "aux_keras").rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    names = {"np": np, "keras": keras, **{n: getattr(aux_keras, n) for n in aux_keras.__all__}}
    results = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert results.attempted and not results.failed


def test_every_public_class_has_an_example():
    for name in aux_keras.__all__:
        if name != "SegmentDecoder":  # shown inside `Reconstruction`
            assert ">>> " in getattr(aux_keras, name).__doc__, name


def test_examples_of_the_pages_run(tmp_path, monkeypatch):
    """One after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for page in (
        "README.md",
        "docs/your_model.md",
        "docs/serving.md",
        "docs/text.md",
        "docs/lengths.md",
    ):
        for code in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.S):
            exec(compile(code, page, "exec"), names)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"model.keras", "mine.keras", "remembered.png", "served"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_name_files_that_exist(page):
    text = page.read_text()
    for name in re.findall(r"`((?:configs|results|benchmarks|examples)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
    for tasks, method in re.findall(r"`(?:\{([\w,]+)\}|cifar)_([\w]+)\.cfg`", text):
        for task in (tasks or "cifar").split(","):
            assert (ROOT / "configs" / f"{task}_{method}.cfg").exists()
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        assert (page.parent / link).exists(), link


def test_the_api_page_has_every_public_name():
    names = re.findall(r"^::: aux_keras\.[\w.]+\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.M)
    assert set(aux_keras.__all__) <= set(names)


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
