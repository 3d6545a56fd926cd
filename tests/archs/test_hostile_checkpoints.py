"""Weights files that are traps or damaged: refused in one line, and nothing else happens."""

import io
import pickle
import struct
import tarfile
import time
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from helpers import SMALL, TINY_NET
from hostile import guarded, megabytes
from torch import nn

from vlif_plugin.archs import (
    PReNet,
    VLIFNet,
    build_network,
    check_intact,
    infer_options,
    load_strict,
    load_tensors,
    read_checkpoint,
)
from vlif_plugin.errors import CheckpointError, OptionError


def packed(pickled, records=(("data/0", bytes(16)),), method=zipfile.ZIP_STORED):
    """A file of torch.save around a pickle, written by hand."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in (
            ("data.pkl", pickled),
            ("byteorder", b"little"),
            ("version", b"3\n"),
            *records,
        ):
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(size=(4,), stride=(1,), *, count=4, offset=0, key="0"):
    """Of a storage of so many numbers; what the three say need not agree."""
    storage = (
        b"("
        + text("storage")
        + name("torch", "FloatStorage")
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    hooks = b"\x89" + name("collections", "OrderedDict") + b")R"
    arguments = b"(" + storage + number(offset) + numbers(size) + numbers(stride) + hooks + b"t"
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def section(**values):
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(content):
    return b"\x80\x02" + content + b"."


def call(module, attribute, argument):
    return name(module, attribute) + argument + b"\x85R"


def saved(content, **options):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, file, **options)
    return file.getvalue()


def repeated(depth, width):
    inner = [1]
    for _ in range(depth):
        inner = [inner] * width
    return inner


def itself():
    content = {}
    content["params"] = content
    return content


def script():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.ReLU()), file)
    return file.getvalue()


def old_tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for part in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(part))
    return file.getvalue()


HUGE = number(20 * 2**30)
REFUSED = {
    "a bytearray": (packed(pickled(section(a=call("builtins", "bytearray", HUGE)))), "it makes a bytearray"),
    "a bytearray of Python 2": (packed(pickled(section(a=call("__builtin__", "bytearray", HUGE)))), "a bytearray"),
    "a bytearray in an old file": (pickled(section(a=call("builtins", "bytearray", HUGE))), "it makes a bytearray"),
    "a bytearray in capitals": (
        packed(b"", [("DATA.PKL", pickled(section(a=call("builtins", "bytearray", HUGE))))]).replace(
            b"archive/data.pkl", b"archive/data.pkx"
        ),
        "it makes a bytearray",
    ),
    "tensors of nothing": (packed(pickled(section(a=call("torch", "FloatTensor", number(10**8))))), "the file has"),
    "compressed": (packed(pickled(section(a=tensor())), method=zipfile.ZIP_DEFLATED), "compressed"),
    "a storage longer than its record": (packed(pickled(section(a=tensor(count=2**20)))), "record size"),
    "a negative storage": (packed(pickled(section(a=tensor(count=-4)))), "not a readable checkpoint"),
    "a view beyond its storage": (packed(pickled(section(a=tensor((1000,))))), "not a readable checkpoint"),
    "a negative size": (packed(pickled(section(a=tensor((-4,))))), "not a readable checkpoint"),
    "a negative stride": (packed(pickled(section(a=tensor((2,), (-1,))))), "not a readable checkpoint"),
    "a size of 70 bits": (packed(pickled(section(a=tensor((2**70,), (0,))))), "not a readable checkpoint"),
    "a missing record": (packed(pickled(section(a=tensor(key="9")))), "not a readable checkpoint"),
    "a record elsewhere": (packed(pickled(section(a=tensor(key="../version")))), "not a readable checkpoint"),
    "itself": (saved(itself()), "it holds itself"),
    "depth": (saved(repeated(300, 1)), "101 levels"),
    "repetition": (saved({"x": repeated(40, 10), "params": {"a": torch.zeros(1)}}), "values in"),
    "a pickle without end": (packed(b"\x80\x02" + b"]" * 100_000), "not a readable checkpoint"),
    "lists in lists": (packed(pickled(b"]" * 20_000 + b"a" * 19_999)), "levels"),
    "TorchScript": (script(), "refused"),
    "the oldest format": (old_tar(), "legacy .tar"),
    "safetensors": (
        struct.pack("<Q", 58) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    ' + bytes(4), "refused",
    ),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "refused"),
    "protocol 5": (pickle.dumps({"a": 1}, 5), "refused"),
    "no zip": (b"PK\x03\x04" + bytes(100), "not a readable checkpoint"),
    "an empty zip": (b"PK\x05\x06" + bytes(18), "refused"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_traps_are_refused_in_one_line_and_take_no_memory(case, tmp_path):
    content, message = REFUSED[case]
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = guarded(lambda: read_checkpoint(path), more=2**30, seconds=15)
    assert said.startswith(f"CheckpointError: {path}: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert megabytes(said) < 150


def test_records_that_add_up_to_more_than_the_file_are_refused(tmp_path):
    """Two entries of the directory that name the same bytes."""
    content = bytearray(
        packed(pickled(section(a=tensor())), [("data/0", bytes(4000)), ("data/1", bytes(4000))])
    )
    entries = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    for entry in entries[-2:]:
        content[entry + 20 : entry + 28] = struct.pack("<II", 6000, 6000)
    (tmp_path / "w.pth").write_bytes(content)
    for use in (load_tensors, check_intact):
        with pytest.raises(CheckpointError, match="its records are longer than the file"):
            use(tmp_path / "w.pth")


ODD = {
    "complex": torch.zeros(2, dtype=torch.complex64),
    "sparse": torch.eye(2).to_sparse(),
    "meta": torch.zeros(2, device="meta"),
    "expanded": torch.rand(1).expand(10**6, 10**6),
    "eight bits": torch.zeros(2, dtype=torch.float8_e4m3fn),
    "a number": 3,
    "a list": [torch.zeros(2)],
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_no_dense_tensor_is_no_weight(case, tmp_path):
    torch.save({"params": {"good": torch.zeros(1), "odd": ODD[case]}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"holds no state dict, .* \(found: odd\)"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "key", [1, None, (1, 2), "a\nb", "\x1b[2J", "\ud800", "", "k" * 501], ids=repr
)
def test_names_that_could_not_be_shown_are_none(key, tmp_path):
    torch.save({"params": {key: torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds no state dict") as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert len(str(caught.value).splitlines()) == 1
    assert "\x1b" not in str(caught.value)


def with_attributes(made, **values):
    return made + section(**values) + b"b"


def test_attributes_that_hide_methods_are_dropped(tmp_path):
    """An OrderedDict whose ``get`` is a number, and a tensor whose ``detach`` is one."""
    odd = {key: number(5) for key in ("get", "items", "values", "_metadata")}
    state = (
        with_attributes(name("collections", "OrderedDict") + b")R", **odd) + section(a=tensor())[1:]
    )
    (tmp_path / "dict.pth").write_bytes(packed(pickled(state)))
    assert read_checkpoint(tmp_path / "dict.pth").state["a"].tolist() == [0, 0, 0, 0]
    assert vars(load_tensors(tmp_path / "dict.pth")) == {}
    hidden = section(detach=number(5), untyped_storage=number(5), numel=number(5))
    made = name("torch._utils", "_rebuild_parameter_with_state")
    hooks = name("collections", "OrderedDict") + b")R"
    state = section(a=made + b"(" + tensor() + b"\x88" + hooks + hidden + b"tR")
    (tmp_path / "tensor.pth").write_bytes(packed(pickled(state)))
    assert read_checkpoint(tmp_path / "tensor.pth").state["a"].tolist() == [0, 0, 0, 0]


def test_the_versions_of_layers_stay(tmp_path):
    state = nn.BatchNorm2d(2).state_dict()
    torch.save(state, tmp_path / "w.pth")
    assert load_tensors(tmp_path / "w.pth")._metadata == state._metadata != {}


def test_old_files_are_read(tmp_path):
    net = PReNet(channels=4, num_blocks=1)
    (tmp_path / "w.pth").write_bytes(saved(net.state_dict(), _use_new_zipfile_serialization=False))
    other = PReNet(channels=4, num_blocks=1)
    load_strict(other, read_checkpoint(tmp_path / "w.pth"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_flipped_bit_is_found_by_its_checksum_and_not_by_torch(tmp_path):
    path = tmp_path / "w.pth"
    state = {"params": {"w": torch.rand(1000), "v": torch.rand(1000)}}
    torch.save(state, path)
    check_intact(path)
    whole = path.read_bytes()
    place = whole.index(state["params"]["v"].numpy().tobytes()) + 1234
    damaged = bytearray(whole)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    loaded = torch.load(path, weights_only=True)["params"]
    assert torch.equal(loaded["w"], state["params"]["w"])
    assert (loaded["v"] != state["params"]["v"]).sum() == 1  # nobody has noticed
    with pytest.raises(
        CheckpointError, match=r"w\.pth: damaged \(record '\w+/data/1' fails its checksum\)"
    ):
        check_intact(path)


def test_any_flip_of_a_byte_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "w.pth"
    content = {"params": {"w": torch.arange(50.0)}, "iter": 3}
    torch.save(content, path)
    whole = path.read_bytes()
    found = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            check_intact(path)
            loaded = load_tensors(path)
        except CheckpointError:
            found += 1
        else:
            assert loaded["iter"] == 3
            assert torch.equal(loaded["params"]["w"], content["params"]["w"])
    assert found > 100


@pytest.mark.parametrize("end", [0, 10, 500, -1, -30])
def test_what_is_cut_short_is_not_intact(end, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"params": {"w": torch.rand(1000)}}, path)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CheckpointError, match="damaged"):
        check_intact(path)


def test_what_is_no_zip_or_missing_is_not_intact(tmp_path):
    (tmp_path / "old.pth").write_bytes(
        saved({"a": torch.zeros(1)}, _use_new_zipfile_serialization=False)
    )
    with pytest.raises(CheckpointError, match=r"old\.pth: damaged \(File is not a zip file\)"):
        check_intact(tmp_path / "old.pth")
    (tmp_path / "packed.pth").write_bytes(
        packed(pickled(section()), [("data/0", bytes(2**26))], zipfile.ZIP_DEFLATED)
    )
    with pytest.raises(CheckpointError, match="compressed"):
        check_intact(tmp_path / "packed.pth")
    with pytest.raises(CheckpointError, match="no such weights file"):
        check_intact(tmp_path / "gone.pth")


def test_files_without_checksums_load(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"params": {"w": torch.arange(3.0)}}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(tmp_path / "w.pth").state["w"].tolist() == [0, 1, 2]


def test_checking_takes_the_memory_of_a_chunk(tmp_path):
    torch.save({"w": torch.zeros(2**25)}, tmp_path / "w.pth")  # 128 MB
    begun = time.perf_counter()
    said = guarded(lambda: check_intact(tmp_path / "w.pth"), more=2**26)
    assert said.startswith("None")
    assert megabytes(said) < 20
    assert time.perf_counter() - begun < 5


def test_numbers_in_names_do_not_make_networks(tmp_path):
    """A name that claims the block 999,999,999 must not let anybody build as many."""
    state = VLIFNet(**SMALL).state_dict()
    one = next(name for name in state if ".0." in name and name.startswith("encoder2."))
    state[one.replace(".0.", ".999999999.", 1)] = state[one]
    assert infer_options(state) is None
    assert infer_options(VLIFNet(**SMALL).state_dict())["en_num_blocks"] == [1, 2]


@pytest.mark.parametrize("shape", [(), (0, 0), (4,), (0, 3, 3, 3)], ids=str)
@pytest.mark.parametrize(
    "net", [VLIFNet(**SMALL), PReNet(channels=4, num_blocks=1), build_network(TINY_NET)], ids=type
)
def test_odd_shapes_tell_nothing_or_options(net, shape):
    state = net.state_dict()
    for each in list(state)[::20]:
        options = infer_options(state | {each: torch.zeros(shape)})
        assert options is None or options["type"] == type(net).__name__


@pytest.mark.parametrize("kind", [[1], {}, None, 5, "x\ny" * 1000], ids=lambda kind: str(kind)[:5])
def test_a_network_of_any_type_is_refused_in_one_line(kind):
    with pytest.raises(OptionError, match="no network is called") as caught:
        build_network({"type": kind})
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_order_and_sharing_are_no_traps(tmp_path):
    """Tied weights, nested options and long histories are what checkpoints have."""
    weight = torch.rand(3)
    history = [float(n) for n in range(100_000)]
    content = {
        "state_dict": OrderedDict(a=weight, b=weight),
        "history": history,
        "meta": {"x": [{"y": (1, 2)}]},
    }
    torch.save(content, tmp_path / "w.pth")
    loaded = load_tensors(tmp_path / "w.pth")
    assert loaded["history"] == history
    assert loaded["meta"] == content["meta"]
    assert torch.equal(loaded["state_dict"]["b"], weight)
