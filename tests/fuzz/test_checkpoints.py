"""Weights files that nobody meant: a state dict of plain tensors comes out, or CheckpointError."""

import io
import zipfile
from collections import OrderedDict

import pytest
import torch
from helpers import FORMS
from hostile import check_line, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vlif_plugin.archs import (
    ARCHS,
    PReNet,
    check_intact,
    infer_options,
    load_strict,
    load_tensors,
    read_checkpoint,
)
from vlif_plugin.errors import CheckpointError, PluginError

NET = PReNet(channels=4, num_blocks=1)


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


STATE = OrderedDict((name, value.clone()) for name, value in list(NET.state_dict().items())[:4])
CONTENTS = [
    STATE,
    {"params": STATE, "network_g": {"type": "PReNet", "channels": 4}},
    {"epoch": 1, "iter": 5, "optimizers": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{}]}]},
    {"a": nn.Parameter(torch.rand(2, 3)), "b": torch.arange(6).view(2, 3).t(), "c": torch.rand(3).half()},
    {"sparse": torch.eye(2).to_sparse(), "empty": torch.zeros(0), "complex": torch.zeros(1, dtype=torch.complex64)},
]  # fmt: skip
FILES = [saved(content) for content in CONTENTS]
LEGACY = [saved(content, _use_new_zipfile_serialization=False) for content in CONTENTS[:4]]
RECORDS = [
    {name: archive.read(name) for name in archive.namelist()}
    for archive in (zipfile.ZipFile(io.BytesIO(file)) for file in FILES)
]


def packed(records):
    """Records as a zip that is in order, whatever they hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


@st.composite
def repacked(draw):
    """A good zip around a pickle that is not."""
    records = dict(draw(st.sampled_from(RECORDS)))
    name = next(name for name in records if name.endswith("data.pkl"))
    other = draw(st.sampled_from(sorted(records)))
    chosen = draw(st.sampled_from((name, name, name, other)))
    return packed(records | {chosen: draw(mutated(st.just(records[chosen]), most=3))})


def try_all(path):
    """Everything that is done with a file of weights; documented errors are let pass."""
    for use in (load_tensors, read_checkpoint, check_intact):
        try:
            use(path)
        except CheckpointError as error:
            check_line(error, path)
    try:
        checkpoint = read_checkpoint(path)
        assert all(type(value) is Tensor for value in checkpoint.state.values())
        infer_options(checkpoint.state)
        load_strict(PReNet(channels=4, num_blocks=1), checkpoint)
    except PluginError as error:
        check_line(error)


@fuzzed("checkpoints: bytes", 250, 10_000)
@given(mutated(st.sampled_from(FILES + LEGACY)))
def test_any_bytes_are_weights_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(content)
    try_all(path)


@fuzzed("checkpoints: pickles", 300, 20_000)
@given(repacked())
def test_any_pickle_gives_weights_or_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(content)
    try_all(path)


TENSORS = st.sampled_from(
    [
        torch.zeros(()), torch.zeros(0), torch.rand(3), torch.rand(1).expand(1000, 1000), torch.rand(4, 4)[::2, 1:],
        torch.arange(3), torch.ones(2).bool(), torch.zeros(1, dtype=torch.complex64), torch.ones(2).double(),
        torch.zeros(2, device="meta"), nn.Parameter(torch.rand(2)), torch.full((2,), float("nan")), *STATE.values(),
        torch.zeros(2, dtype=torch.float8_e4m3fn), torch.zeros(2, dtype=torch.uint16), torch.eye(2).to_sparse(),
    ]
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([*STATE, "params", "params_ema", "state_dict", "model", "network_g", "module.a", "a", "type"]),
    st.text(max_size=6),
    st.integers(-3, 3),
    st.none(),
    st.tuples(st.integers(0, 3)),
)  # fmt: skip
PLAIN = (
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
VALUES = st.recursive(
    st.one_of(TENSORS, *PLAIN),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5).map(OrderedDict),
    ),
    max_leaves=12,
)  # fmt: skip


@fuzzed("checkpoints: structures", 250, 10_000)
@given(VALUES, st.booleans())
def test_any_structure_is_a_state_dict_or_refused(tmp_path_factory, content, zipped):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(saved(content, _use_new_zipfile_serialization=zipped))
    try_all(path)


@pytest.fixture(scope="module")
def states():
    return [ARCHS[name](**arguments).state_dict() for name, arguments in FORMS.values()]


@fuzzed("checkpoints: recognition", 150, 5_000)
@given(data=st.data())
def test_any_names_and_shapes_are_a_network_that_can_be_or_none(states, data):
    shapes = {name: list(value.shape) for name, value in data.draw(st.sampled_from(states)).items()}
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(sorted(shapes)))
        kind = data.draw(st.sampled_from(("shape", "size", "remove", "rename")))
        if kind == "shape":
            shapes[name] = data.draw(st.lists(st.integers(0, 3), max_size=5))
        elif kind == "size" and shapes[name]:
            shapes[name][data.draw(st.integers(0, len(shapes[name]) - 1))] = data.draw(
                st.integers(0, 99)
            )
        elif kind == "remove":
            del shapes[name]
        else:
            digit = data.draw(st.sampled_from(("7", "99999999999", "0", "9" * 5000, "x")))
            shapes[name.replace("0", digit, 1)] = shapes.pop(name)
        if not shapes:
            return
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    options = infer_options(state)
    assert options is None or options["type"] in ARCHS
    lists = [v for k, v in (options or {}).items() if isinstance(v, list) and k != "dims"]
    counts = [n for v in lists for n in v]
    assert sum(n for n in counts if isinstance(n, int)) <= len(state)
