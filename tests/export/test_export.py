"""Exported networks are the networks, for every size and number of images."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import yaml
from helpers import FORMS, live_net, make_live, without
from torch import nn

import vlif_plugin
from vlif_plugin import cli
from vlif_plugin.archs import ARCHS, SpikingRestorer
from vlif_plugin.errors import DataError, ExportError, OptionError
from vlif_plugin.export import export_network, trace
from vlif_plugin.export.checking import SHAPES, TRIES, compare
from vlif_plugin.export.tracing import EXAMPLE
from vlif_plugin.layers import ConvBN, ThresholdDependentBatchNorm2d, upsample
from vlif_plugin.neurons import LIFNode, VLIFPixelNode, functional

ANY_SIZE = [(1, 1, 1), (2, 5, 9), (3, 16, 24), (1, 31, 18), (4, 8, 8)]
DOCS = Path(__file__).parents[2] / "docs" / "export.md"


class Small(SpikingRestorer):
    """LIF and VLIF, both changes of resolution, and padding to multiples of 4."""

    size_multiple = 4

    def __init__(self, *, dim: int = 4, T: int = 2) -> None:
        super().__init__()
        self.T = T
        self.patch_embed = nn.Conv2d(3, dim, 3, padding=1)
        self.body = nn.Sequential(
            ConvBN(dim, dim),
            LIFNode(v_threshold=0.15, decay_input=False, learn=["tau"]),
            ConvBN(dim, dim, stride=2),
            VLIFPixelNode(r=2),
            ConvBN(dim, dim),
        )
        self.output = nn.Conv2d(dim, 3, 3, padding=1)

    def forward_features(self, x_seq):
        return x_seq + upsample(self.body(x_seq), 2)


def small():
    net = Small()
    net.body[1].w_tau.data.fill_(-0.3)  # as if it had learned
    return make_live(net, torch.rand(2, 3, 32, 32))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A live network, and the ONNX file that the command makes of it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    net = small()
    torch.save({"params": net.state_dict(), "network_g": {"type": "Small"}}, folder / "net.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHS, "Small", Small)
        words = ["export", "-w", str(folder / "net.pth"), "-o", str(folder / "net.onnx")]
        assert cli.main(words) == 0
    return net, folder / "net.onnx"


def margin(net, x):
    """The least distance of a membrane from where its spike changes."""
    distances = []

    def sigmoid_spike(distance, alpha):
        distances.append(distance.abs().min().item())
        return (distance >= 0).to(distance)

    def integer_spike(u, levels):
        steps = torch.arange(levels) + 0.5
        distances.append((u[..., None] - steps).abs().min().item())
        return u.clamp(0, levels).round()

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(functional, "sigmoid_spike", sigmoid_spike)
        patch.setattr(functional, "integer_spike", integer_spike)
        net(x)
    return min(distances, default=float("inf"))


def clear_images(net, shape, least=1e-5):
    """Images on which no membrane stands so near a threshold that rounding could decide."""
    count, height, width = shape
    wide = copy.deepcopy(net).double()
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(count, 3, height, width, generator=generator)
        if margin(wide, x.double()) > least:
            return x
    raise AssertionError("no such images among 200")


def run_onnx(path):
    session = onnxruntime.InferenceSession(path)
    return lambda x: torch.from_numpy(session.run(["restored"], {"lq": x.numpy()})[0])


def assert_same(net, exported, *shapes):
    changes = []
    for shape in shapes:
        x = clear_images(net, shape)
        with torch.no_grad():
            expected = net(x)
        changes.append((expected - x).abs().max())
        assert (exported(x) - expected).abs().max() < 1e-4
    assert max(changes) > 0.01


@pytest.mark.parametrize("shape", ANY_SIZE)
def test_the_onnx_file_gives_what_the_network_gives(shape, written):
    net, path = written
    assert (shape[0], 3, *shape[1:]) != EXAMPLE
    assert_same(net, run_onnx(path), shape)


def test_the_onnx_file_says_what_it_is(written):
    model = onnx.load(written[1])
    onnx.checker.check_model(model, full_check=True)
    record = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(record["network_g"]) == {"type": "Small"}
    assert record["vlif_plugin"] == vlif_plugin.__version__
    assert "RGB in [0, 1]" in record["lq"]
    for value in (*model.graph.input, *model.graph.output):
        sizes = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert sizes == ["batch", 3, "height", "width"]


def test_the_onnx_file_tells_nothing_of_the_machine(written):
    content = written[1].read_bytes()
    assert b"site-packages" not in content
    assert os.fsencode(Path(vlif_plugin.__file__).parent) not in content


def test_the_onnx_file_runs_without_pytorch_as_the_docs_say(written, tmp_path):
    import cv2
    import numpy as np

    (block,) = [b for b in DOCS.read_text().split("```python\n")[1:] if "onnxruntime" in b]
    program = block.partition("```")[0]
    (tmp_path / "net.onnx").write_bytes(written[1].read_bytes())
    image = (clear_images(written[0], (1, 20, 29)) * 255).round()  # whose bytes are another image
    image = image[0].permute(1, 2, 0).byte().numpy()
    cv2.imwrite(str(tmp_path / "rainy.png"), image[..., ::-1])
    start = "import sys; sys.modules['torch'] = sys.modules['vlif_plugin'] = None\n"
    subprocess.run([sys.executable, "-c", start + program], cwd=tmp_path, check=True)
    given = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    expected = run_onnx(written[1])(given)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    restored = cv2.imread(str(tmp_path / "restored.png"))[..., ::-1]
    assert restored.shape == (20, 29, 3)
    assert np.abs(restored - expected).max() < 0.51


def test_an_exported_program_is_plain_operators_that_give_what_the_network_gives(tmp_path):
    net = small()
    export_network(net, tmp_path / "net.pt2", network_g={"type": "Small", "dim": 4})
    norms = [m for m in net.modules() if isinstance(m, ThresholdDependentBatchNorm2d)]
    assert len(norms) == 3  # the network itself is left as it was
    extra = {"vlif_plugin.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert json.loads(json.loads(extra["vlif_plugin.json"])["network_g"])["dim"] == 4
    targets = {n.target for n in program.graph.nodes if n.op == "call_function"}
    assert not [t for t in targets if isinstance(t, torch._ops.HigherOrderOperator)]
    assert {t.namespace for t in targets if isinstance(t, torch._ops.OpOverload)} == {"aten"}
    module = program.module()
    assert_same(net, module, *ANY_SIZE)


def test_a_child_may_be_called_as_a_program_calls_its_own(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.code = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return x + self.code(x)

    net = Named()
    export_network(net, tmp_path / "net.pt2")
    assert_same(net, torch.export.load(tmp_path / "net.pt2").module(), *ANY_SIZE[:2])


def test_a_neuron_takes_sequences_whose_place_in_memory_depends_on_the_size():
    class Shrunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = LIFNode(v_threshold=0.15, decay_input=False)

        def forward(self, x):
            # sizes that torch.export takes as its own
            height, width = (x.sum().abs().long().clamp(2, most).item() for most in (5, 6))
            rows, columns = (torch.arange(size) for size in (height, width))
            cut = torch.stack([x, x])[..., rows, :][..., columns]
            return x + self.neuron(cut).mean()

    net = Shrunk()
    x = torch.rand(2, 3, 9, 7)
    assert net(x).ne(x).any()
    torch.testing.assert_close(trace(net).module()(x), net(x))


def test_batchnorm_is_folded_unless_it_shall_not_be():
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = ConvBN(3, 3)

        def forward(self, x):
            return self.layer(x[None])[0]

    operators = {
        fuse: {str(node.target) for node in trace(Normed(), fuse=fuse).graph.nodes}
        for fuse in (True, False)
    }
    assert not any("batch_norm" in name for name in operators[True])
    assert any("batch_norm" in name for name in operators[False])


class TestTheComparison:
    def test_finds_a_network_equal_to_itself(self):
        net = small()
        found = compare(net, net)
        assert (found.largest, found.shapes, found.moved, found.silent) == (0, len(SHAPES), 0, 0)
        assert found.neurons == 2

    @pytest.mark.parametrize("neuron", ["body.1", "body.3"])
    def test_refuses_a_network_without_one_of_its_neurons(self, neuron):
        net = small()
        with pytest.raises(ExportError, match="gives another result than the network, on 1 images"):
            compare(net, without(net, neuron))

    def test_refuses_another_size_and_what_is_no_number(self):
        net = small()
        with pytest.raises(ExportError, match="inf apart"):
            compare(net, lambda x: net(x)[..., 1:])
        with pytest.raises(ExportError, match="inf apart"):
            compare(net, lambda x: net(x) * torch.nan)

    def test_passes_over_images_on_which_a_spike_moved_and_counts_them(self):
        net, calls = small(), []

        def moved_once(x):
            calls.append(len(x))
            return net(x) + (0.01 if len(calls) == 2 else 0)

        found = compare(net, moved_once)
        assert found.moved == calls[1] == SHAPES[1][0]
        assert "3 images passed over, where rounding moved a spike" in str(found)

    def test_gives_a_network_without_spikes_one_try(self):
        net, calls = nn.Conv2d(3, 3, 1), []
        with pytest.raises(ExportError):
            compare(net, lambda x: calls.append(x) or net(x) + 0.01)
        assert len(calls) == 1 < TRIES

    def test_tells_of_neurons_that_it_has_not_seen_fire(self):
        net = small()
        net.body[0].bn.weight.data.zero_()
        net.body[0].bn.bias.data.fill_(-1)
        assert "1 of 2 neuron layers did not fire" in str(compare(net, net))


class Faulty(nn.Module):
    """A layer that does something, between others."""

    def __init__(self, what) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.odd = Odd(what)

    def forward(self, x):
        return self.odd(self.first(x))


class Odd(nn.Module):
    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda x: x if x.mean() > 0 else -x, r"odd \(Odd\): .* decides by a tensor's values"),
        (lambda x: torch.from_numpy(x.numpy() + 1), r"odd \(Odd\): cannot be exported \(.*numpy"),
        (lambda x: x.unflatten(2, (-1, 2)).flatten(2, 3), r"odd \(Odd\): .*unflatten"),
        (lambda x: x.reshape(EXAMPLE), "fixes the number of images, their height or their width"),
        (
            lambda x: x.cummax(1).values,
            r"odd \(Odd\): the operator cummax cannot be written as ONN",
        ),
        (lambda x: x + torch.rand_like(x), "gives another result than the network"),
    ],
    ids=["branch", "numpy", "even", "fixed", "cummax", "random"],
)
def test_what_cannot_be_exported_is_named_and_nothing_is_written(what, said, tmp_path):
    with pytest.raises(ExportError, match=said) as error:
        export_network(Faulty(what), tmp_path / "net.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named_with_its_extra(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=r"ONNX comes with the extra 'export'.*\[export\]"):
        export_network(nn.Conv2d(3, 3, 1), tmp_path / "net.onnx")


class TestTheCommand:
    def options(self, folder):
        path = folder / "net.yml"
        path.write_text(yaml.safe_dump({"network_g": {"type": "Small"}}))
        return str(path)

    def test_exports_a_fresh_network_and_says_that_it_is_one(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(ARCHS, "Small", lambda: nn.Conv2d(3, 3, 3, padding=1))
        out = str(tmp_path / "new" / "net.pt2")
        assert cli.main(["export", "--opt", self.options(tmp_path), "-o", out]) == 0
        said = capsys.readouterr().out
        assert "a fresh network: no weights were named" in said
        assert "4 shapes, largest difference" in said
        assert os.path.exists(out)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["-o", "net.png"], "the name must end in .onnx, .pt2 or .nir"),
            (["-o", "net.onnx"], "name an option file with --opt, or weights with --weights"),
            (["-o", "net.yml/net.pt2"], "no folder that can be written"),
            (["-o", "there.onnx"], "exists already"),
            (["-o", "net.onnx", "--part", "body"], "--part is for .nir"),
            (["-o", "net.nir", "--opt", "net.yml"], "name a part with --part"),
            (["-o", "net.nir", "--opt", "net.yml", "--part", "bodi"], "did you mean body"),
            (["-o", "net.nir", "--opt", "net.yml", "--part", "output"], "not given one sequence"),
            (["-o", "net.nir", "--opt", "net.yml", "--part", "body"], "body: 3: NIR has no VLIF"),
        ],
    )
    def test_says_what_is_wrong_in_a_line(self, words, said, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(ARCHS, "Small", Small)
        monkeypatch.chdir(tmp_path)
        self.options(tmp_path)
        (tmp_path / "there.onnx").write_text("mine")
        before = sorted(tmp_path.iterdir())
        assert cli.main(["export", *words]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before
        assert (tmp_path / "there.onnx").read_text() == "mine"

    def test_leaves_nothing_where_the_file_cannot_be_written(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="cannot be written"):
            export_network(nn.Conv2d(3, 3, 1), tmp_path / "net.pt2")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("NAFNet", "MPRNet")])
def test_every_network_gives_the_same_from_its_files(form, tmp_path):
    narrow = {"dim": 8} if "VLIFNet," in form or form == "ESDNet" else {}
    net, _ = live_net(form, **narrow)
    net = net.float()
    for suffix, load in ((".onnx", run_onnx), (".pt2", lambda p: torch.export.load(p).module())):
        found = export_network(net, tmp_path / f"net{suffix}")
        assert found.silent == 0
        assert_same(net, load(tmp_path / f"net{suffix}"), (1, 1, 1), (2, 5, 9), (3, 8, 7))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["NAFNet", "MPRNet"])
def test_networks_of_others_that_fix_sizes_are_refused_by_name(form, tmp_path):
    net, _ = live_net(form)
    with pytest.raises(ExportError, match="cannot be exported"):
        export_network(net, tmp_path / "net.onnx")
