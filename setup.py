"""Package metadata. See README.md for how to install; `make demo` and `make test` do it by themselves."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (ROOT / "vlif_plugin" / "__init__.py").read_text(), re.M
)[1]

COMPARE = ["spandrel>=0.4.2", "spandrel_extra_arches>=0.2.0"]
EXPORT = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20", "nir>=1.0.6"]

setup(
    name="vlif_plugin",
    version=VERSION,
    description="Spiking neural networks (VLIF) for image restoration, inside BasicSR and mmengine",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    # BasicSR 1.4.2 does not build on Python 3.13
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["vlif_plugin", "vlif_plugin.*"]),
    package_data={
        "vlif_plugin": [
            "py.typed",
            "metrics/brisque_live.*",
            "comparison/page.*",
            "shipped/*.safetensors",
            "shipped/*.md",
            "cli/*.html",
        ]
    },
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "basicsr==1.4.2",
        "mmengine>=0.10.7",
        "timm>=1.0.12",
        "lpips",
        "opencv-python",
        "lmdb",
        "pyyaml",
        "safetensors>=0.4",
        # used directly, and installed by the above in any case
        "numpy",
        "pillow",
        "scipy",
        "tqdm",
        "rich",
        "jinja2",
        "markupsafe",
        "matplotlib",
        "scikit-image>=0.22",
    ],
    extras_require={
        "compare": COMPARE,
        "export": EXPORT,
        "dev": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "pyright",
            "spikingjelly>=2.0",
            "thop",
            *COMPARE,
            *EXPORT,
        ],
    },
    entry_points={
        "console_scripts": [
            "vlif = vlif_plugin.cli:main",
            "basicsr = vlif_plugin.basicsr_host.run:basicsr",
        ]
    },
)
