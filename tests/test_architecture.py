"""Who imports whom, and how long modules and functions may grow."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "aux_keras"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_SEE = {
    "layers": {"layers"},
    "models": {"layers", "models"},
    "data": {"data"},
    "serving": {"layers", "models", "data", "serving"},
    "training": {"layers", "models", "data", "serving", "training"},
    "experiments": {"config", "training", "experiments", "data", "models"},
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
    if str(inside) != "config.py":
        assert not any(name.startswith("absl") for name in names)
    if str(inside) not in SEES_TFDS:
        assert not any(name.startswith("tensorflow_datasets") for name in names)
    if str(inside) == "config.py":
        assert not any(name.startswith(("keras", "tensorflow")) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_short(path):
    text = path.read_text()
    code_lines = len(text.splitlines())
    assert code_lines <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            length = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            assert length <= 45, f"{node.name}: {length} lines"
        assert not isinstance(node, ast.Assert), "no assert in the package"
