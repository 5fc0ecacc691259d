"""What `pyproject.toml` cannot say: `configs/` is installed inside the package."""

import setuptools

setuptools.setup(
    packages=[*setuptools.find_packages(include=["aux_keras", "aux_keras.*"]), "aux_keras.configs"],
    package_dir={"aux_keras.configs": "configs"},
    package_data={"aux_keras": ["py.typed"], "aux_keras.configs": ["*.cfg", "*/*.cfg"]},
)
