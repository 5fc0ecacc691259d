"""Packaging of aux_keras."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "aux_keras" / "__init__.py").read_text())[1]
# tensorflow and tensorflow-cpu are different distributions that overwrite each other: the
# extra `cpu` is for machines without a GPU, and whoever has either needs no extra.
CORE = [
    "absl-py>=2.1",
    "importlib_resources>=6",  # tensorflow-datasets 4.9.10 needs it and does not say so
    "keras>=3.15,<4",
    "numpy>=2",
    "tensorboard>=2.21",  # TensorFlow 2.21 no longer brings it
    "tensorflow-datasets>=4.9.10",
]

setuptools.setup(
    name="aux_keras",
    version=VERSION,
    description="Recurrent networks that learn long-term dependencies with auxiliary losses",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["aux_keras", "aux_keras.*"]),
    package_data={"aux_keras": ["py.typed"]},
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require={
        "tensorflow": ["tensorflow>=2.21,<3"],
        "cpu": ["tensorflow-cpu>=2.21,<3"],
        "gpu": ["tensorflow[and-cuda]>=2.21,<3"],
        "digits": ["scikit-learn>=1.5"],
        "figures": ["matplotlib>=3.9"],
        "onnx": ["onnx>=1.20", "onnxruntime>=1.24", "tf2onnx>=1.17"],
    },
)
