"""Packages of the wheel; all else stands in pyproject.toml.

`configs/` lies at the top, where people look for it, and goes into the wheel inside the package, so
that an installed program has its configurations.
"""

from setuptools import find_namespace_packages, setup

FOUND = find_namespace_packages(
    include=["luperson_jax*", "data_pipeline*"],
    exclude=["luperson_jax.page.templates", "luperson_jax.page.static"],
)

setup(
    packages=[*FOUND, "luperson_jax.configs"],
    package_dir={"luperson_jax.configs": "configs"},
    package_data={
        "luperson_jax": ["py.typed", "*.pyi"],
        "luperson_jax.measure": ["*.json"],
        "luperson_jax.page": ["templates/*.html", "static/*"],
    },
)
