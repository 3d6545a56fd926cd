"""The direction of imports: the core knows no toolbox, and each part only the parts below it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import COMPLETE, FORMS

PACKAGE = Path(__file__).parents[1] / "vlif_plugin"
BASE = {
    "errors",
    "building",
    "extras",
    "files",
    "option_files",
    "records",
    "machine",
    "commands",
    "distributed",
    "processes",
}
MAY_IMPORT = {
    "errors": set(),
    "building": {"errors"},
    "extras": {"errors"},
    "files": {"errors"},
    "option_files": {"errors", "files"},
    "records": set(),
    "machine": {"records"},
    "runs": {"building", "distributed", "errors", "files", "records", "machine"},
    "commands": {"errors"},
    "processes": set(),
    "distributed": {"commands", "errors"},
    "parts": set(),
    "layers": {"parts"},
    "neurons": {"layers", "building", "distributed", "errors", "parts"},
    "speed": {"layers", "neurons", "parts", "errors"},
    "blocks": {"neurons", "layers", "parts"},
    "losses": set(),
    "metrics": {"losses", "errors"},
    "data": BASE,
    "spiking": {"neurons", "layers", "errors", "building"},
    "archs": {"spiking", "blocks", "neurons", "layers"} | BASE,
    "shipped": {"archs", "errors"},
    "inference": BASE,
    "preparation": {"data", "metrics"} | BASE,
    "energy": {"archs", "blocks", "neurons", "layers"} | BASE,
    "scoring": {"archs", "data", "energy", "metrics"} | BASE,
    "analysis": {"neurons", "layers", "errors"},
    "export": {"archs", "data", "layers", "neurons", "speed"} | BASE,
    "registry": {"errors"},
    "mmengine_host": {
        "registry",
        "archs",
        "blocks",
        "neurons",
        "layers",
        "losses",
        "data",
        "speed",
        "inference",
        "energy",
        "scoring",
        "runs",
    }
    | BASE,
    "basicsr_host": {
        "archs",
        "blocks",
        "neurons",
        "layers",
        "losses",
        "data",
        "speed",
        "inference",
        "energy",
        "scoring",
        "runs",
    }
    | BASE,
    "comparison": {
        "archs",
        "shipped",
        "data",
        "inference",
        "metrics",
        "energy",
        "scoring",
        "runs",
        "basicsr_host",
    }
    | BASE,
    "cli": {
        "archs",
        "shipped",
        "data",
        "speed",
        "inference",
        "losses",
        "preparation",
        "energy",
        "analysis",
        "scoring",
        "basicsr_host",
        "mmengine_host",
        "comparison",
        "export",
    }
    | BASE,
    "train": {"basicsr_host"},
    "test": {"basicsr_host"},
    "mm_train": {"mmengine_host"},
    "mm_test": {"mmengine_host"},
    "_torchvision_alias": set(),
    "__init__": {"_torchvision_alias"},
}
LIBRARIES = {
    "neurons": {"torch", "triton"},  # only where it is asked for: see below
    "archs": {"torch", "safetensors"},
    "option_files": {"yaml"},
    "core": {"torch", "numpy", "cv2", "lmdb", "PIL"},
    "data": {"torch", "numpy", "cv2", "lmdb", "PIL", "skimage"},
    "metrics": {"torch", "numpy", "PIL", "scipy", "skimage", "lpips", "torchvision"},
    "basicsr_host": {"torch", "numpy", "basicsr", "timm", "tqdm"},
    "registry": {"mmengine"},
    "mmengine_host": {"torch", "numpy", "mmengine"},
    "comparison": {
        "torch",
        "numpy",
        "PIL",
        "cv2",
        "rich",
        "jinja2",
        "markupsafe",
        "matplotlib",
    },
    "analysis": {"torch", "numpy"},
    "cli": {
        "torch",
        "numpy",
        "cv2",
        "tqdm",
        "basicsr",
        "skimage",
        "matplotlib",
        "rich",
        "jinja2",
        "markupsafe",
    },
}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "vlif_plugin":
                yield from (f"vlif_plugin.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_imports_only_what_lies_below_it(path):
    part = part_of(path)
    libraries = LIBRARIES.get(part, LIBRARIES["core"])
    for name in imports_of(path):
        top, *rest = name.split(".")
        if top == "vlif_plugin":
            target = rest[0] if rest else "__init__"
            assert target in {part, *MAY_IMPORT[part], "__version__"} - (
                {"__init__"} if rest else set()
            ), name
        else:
            assert top in sys.stdlib_module_names or top in libraries, name


def test_the_core_works_where_no_toolbox_is_installed():
    small = dict(reversed(FORMS.values()))
    program = f"""
import sys
for name in ('basicsr', 'mmengine', 'timm', 'torchvision', 'skimage', 'yaml', 'lpips', 'spandrel',
             'spandrel_extra_arches'):
    sys.modules[name] = None
import torch
import vlif_plugin, vlif_plugin.analysis, vlif_plugin.blocks, vlif_plugin.data, vlif_plugin.inference
import vlif_plugin.losses
import vlif_plugin.metrics
from vlif_plugin.archs import ARCHS
from vlif_plugin.errors import OptionError
without = []
for name, arguments in {small!r}.items():
    try:
        net = ARCHS[name](**arguments)
    except OptionError as error:
        assert "comes with the extra 'compare'" in str(error), error
        without.append(name)
    else:
        assert net(torch.rand(1, 3, 9, 9)).shape == (1, 3, 9, 9)
assert sorted(without) == ['MPRNet', 'NAFNet', 'Restormer'], without
assert 'vlif_plugin.neurons.triton_kernels' not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, vlif_plugin; print([m for m in ('torch', 'numpy', 'cv2', 'basicsr') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_every_arch_file_is_in_the_list():
    from vlif_plugin.archs import ARCHS

    files = {f"vlif_plugin.archs.{path.stem}" for path in (PACKAGE / "archs").glob("*_arch.py")}
    assert files == {arch.__module__ for arch in ARCHS.values()}


def test_the_examples_of_readme_and_neurons_page_run(monkeypatch):
    import vlif_plugin.archs
    from vlif_plugin.neurons import NEURONS

    # some add to these
    monkeypatch.setattr(vlif_plugin.archs, "ARCHS", dict(vlif_plugin.archs.ARCHS))
    monkeypatch.setattr(NEURONS, "data", dict(NEURONS))
    for page in ("README.md", "docs/neurons.md"):
        text = (PACKAGE.parent / page).read_text()
        blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
        assert blocks
        for block in blocks:
            exec(compile(block, page, "exec"), {})


def test_the_readmes_table_of_parameters_is_true():
    from vlif_plugin.archs import VLIFNet

    readme = (PACKAGE.parent / "README.md").read_text()
    for arguments in (
        {},
        {"formulation": "official"},
        {"formulation": "official", "use_refinement": True},
    ):
        count = sum(p.numel() for p in VLIFNet(**arguments).parameters())
        assert f"{count:,d}" in readme


def test_the_readmes_table_of_networks_is_the_list():
    from vlif_plugin.archs import ARCHS

    readme = (PACKAGE.parent / "README.md").read_text()
    rows = re.findall(r"\| `(\w+)` \|[^|\n]*\| ([\d,]+) \|", readme)
    counts = {name: sum(p.numel() for p in ARCHS[name]().parameters()) for name in COMPLETE}
    assert dict(rows) == {name: f"{count:,d}" for name, count in counts.items()}


def test_the_readmes_table_of_protocols_is_the_code_s():
    from vlif_plugin.metrics import PROTOCOLS

    readme = (PACKAGE.parent / "README.md").read_text()
    for name, protocol in PROTOCOLS.items():
        assert f"| `{name}` | {protocol.what} | {protocol.used_by} |" in readme
