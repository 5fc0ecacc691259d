"""The worked examples run as they are, shrunk by their own arguments."""

import os
import re
import subprocess
import sys

import tensorflow as tf

from tests.test_training import ROOT


def example(name, *arguments):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)], text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scan_lines(tmp_path):
    """Two photographs are told apart, and the served model says the same."""
    printed = example("scan_lines.py", f"--output={tmp_path / 'out'}", "--epochs=3")
    accuracy = re.search(r"Test accuracy: (.+)", printed)[1]
    assert float(accuracy) > 0.75, printed
    assert f"The same from the served model: {accuracy}" in printed
    assert "640 pixels: " in printed
    assert (tmp_path / "out" / "model.keras").exists()
    names = tf.saved_model.load(str(tmp_path / "out" / "served")).label_names()["names"]
    assert list(names.numpy()) == [b"china", b"flower"]


def test_few_labels():
    """Pretraining without labels helps where there are few."""
    printed = example("few_labels.py", "--pretrain_epochs=30", "--epochs=50", "--seeds=1")
    with_, without = map(float, re.search(r"mean: .* (0\.\d+), without (0\.\d+)", printed).groups())
    assert with_ > without > 0.2, printed
