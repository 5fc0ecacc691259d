"""Who imports whom, and how long modules and functions may grow."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import aux_keras

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "aux_keras"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHARED = {"arguments", "backend", "padding", "quiet", "randomness"}  # small, seen from everywhere
MAY_SEE = {
    "scan": SHARED | {"scan"},
    "cells": SHARED | {"cells"},
    "layers": SHARED | {"scan", "layers"},
    "attention": SHARED | {"attention"},
    "losses": SHARED | {"scan", "layers", "losses"},
    "models": SHARED | {"scan", "cells", "layers", "attention", "losses", "models"},
    "pictures": {"models", "pictures"},
    "data": {"data"},
    "serving": {"quiet", "scan", "models", "data", "serving"},
    "training": {"losses", "models", "data", "serving", "pictures", "training"},
    "experiments": {"config", "flags", "training", "experiments", "data", "models"},
}
MAY_SEE_CONFIG = {"models/factory.py"}
SEES_TFDS = {"data/prepared.py", "data/dbpedia.py"}


def imports(path):
    """Full names of everything a module imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    inside = path.relative_to(PACKAGE)
    names = list(imports(path))
    for name in names:
        parts = name.split(".")
        if parts[0] != "aux_keras" or len(inside.parts) == 1 or len(parts) == 1:
            continue
        if parts[1] == "config":
            assert str(inside) in MAY_SEE_CONFIG or inside.parts[0] == "experiments"
        elif parts[1] != "__version__":
            assert parts[1] in MAY_SEE[inside.parts[0]], name
    if str(inside) not in ("flags.py", "cli.py"):
        assert not any(name.startswith("absl") for name in names)
    if str(inside) not in SEES_TFDS:
        assert not any(name.startswith("tensorflow_datasets") for name in names)
    if str(inside) in ("__init__.py", "config.py", "flags.py", "cli.py"):
        assert not any(name.startswith(("keras", "tensorflow")) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            length = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            assert length <= 45, f"{node.name}: {length} lines"
        assert not isinstance(node, ast.Assert), "no assert in the package"


def test_no_class_has_two_bases_of_ours():
    classes = [
        node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]  # fmt: skip
    ours = {node.name for node in classes}
    for node in classes:
        assert len([base for base in node.bases if ast.unparse(base) in ours]) <= 1, node.name


def test_the_public_api_has_types():
    """Constructors, `call`, functions; and types are checked of all that is imported lazily."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert {f"{n.module}.{a.name}" for n in typed for a in n.names} == {
        f"aux_keras.{module}.{name}" for name, module in aux_keras._MODULES.items()
    }
    for public in (getattr(aux_keras, name) for name in aux_keras.__all__):
        methods = [getattr(public, name, public) for name in ("__init__", "call", "get_config")]
        for function in filter(inspect.isfunction, methods):
            if function.__module__.startswith("aux_keras."):
                parameters = dict(inspect.signature(function).parameters)
                parameters.pop("self", None)
                bare = [n for n, p in parameters.items() if p.annotation is p.empty]
                assert not bare, (function.__qualname__, bare)
                assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_only_the_model_has_a_training_step():
    text = {path: path.read_text() for path in MODULES}
    assert [p.name for p, t in text.items() if "def train_step" in t] == ["auxiliary_model.py"]


def test_nothing_is_imported_before_it_is_used():
    code = (
        "import sys, aux_keras; print('keras' in sys.modules, 'tensorflow' in sys.modules); "
        "from aux_keras.layers import TruncatedRNN; import aux_keras.losses, aux_keras.models; "
        "print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["False"] * 3


@pytest.mark.parametrize("imports", ["import aux_keras, keras", "import keras, aux_keras"])
def test_keras_loads_our_classes_in_whatever_order_they_are_imported(imports):
    code = f"{imports}; print(keras.saving.get_registered_object('aux_keras>AuxiliaryModel'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "auxiliary_model.AuxiliaryModel" in done.stdout
