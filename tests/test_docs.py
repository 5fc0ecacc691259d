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
README = (ROOT / "README.md").read_text()
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "aux_keras").rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    names = {"np": np, "keras": keras, **vars(aux_keras)}
    results = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert results.attempted and not results.failed


def test_every_public_class_has_an_example():
    for name in aux_keras.__all__:
        if name != "SegmentDecoder":  # shown inside `Reconstruction`
            assert ">>> " in getattr(aux_keras, name).__doc__, name


def test_readme_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "model.keras").exists()


def test_readme_names_files_that_exist():
    for name in re.findall(r"`((?:configs|results|benchmarks)/[\w./]+)`", README):
        assert (ROOT / name).exists(), name
    for tasks, method in re.findall(r"`(?:\{([\w,]+)\}|cifar)_([\w]+)\.cfg`", README):
        for task in (tasks or "cifar").split(","):
            assert (ROOT / "configs" / f"{task}_{method}.cfg").exists()


def test_no_python_example_hides_in_the_readme():
    assert README.count("```python") == 1
