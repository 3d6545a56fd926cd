import pickle
import resource

import pytest
import torch
from helpers import SMALL, Malicious, reference_net

from vlif_plugin.archs import (
    ESDNet,
    VLIFNet,
    build_network,
    infer_options,
    load_strict,
    read_checkpoint,
    save_atomically,
    save_safetensors,
)
from vlif_plugin.archs._released_keys import VLIF_RULES, to_released
from vlif_plugin.errors import CheckpointError, OptionError


def save(content, tmp_path, name="weights.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


WRAPPINGS = {
    "bare": lambda s: s,
    "released": lambda s: {
        "epoch": 7,
        "state_dict": s,
        "optimizer": {"state": {}, "param_groups": []},
    },
    "data parallel": lambda s: {"state_dict": {"module." + k: v for k, v in s.items()}},
    "compiled": lambda s: {"_orig_mod." + k: v for k, v in s.items()},
    "compiled, of many": lambda s: {"_orig_mod.module." + k: v for k, v in s.items()},
    "of many, compiled": lambda s: {"params": {"module._orig_mod." + k: v for k, v in s.items()}},
    "basicsr": lambda s: {"params": s},
    "basicsr ema": lambda s: {"params": {k: v * 0 for k, v in s.items()}, "params_ema": s},
    "model": lambda s: {"model": s},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("names", ["released", "ours"])
def test_usual_wrappings_load_and_give_the_same_output(wrapping, names, tmp_path):
    net, arrays = reference_net()
    expected = net(arrays["x"])
    state = net.state_dict() if names == "ours" else net.released_state_dict()
    path = save(WRAPPINGS[wrapping](state), tmp_path)
    fresh = VLIFNet(**SMALL, formulation="official", use_refinement=True).double().eval()
    load_strict(fresh, read_checkpoint(path))
    assert torch.equal(fresh(arrays["x"]), expected)


def damaged(content, kind):
    """Bytes of a file of safetensors, changed."""
    if kind == "cut off":
        return content[:-3]
    if kind == "a long header":
        return (2**40).to_bytes(8, "little") + content[8:]
    if kind == "offsets beyond the end":
        return content.replace(b"[0,16]", b"[0,99]")
    if kind == "a pickle":
        return pickle.dumps(Malicious())
    return content.replace(b'{\\"type\\"', b'[\\"type\\"')  # options that are no JSON


@pytest.mark.parametrize(
    "kind", ["cut off", "a long header", "offsets beyond the end", "a pickle", "bad options"]
)
def test_damaged_safetensors_are_refused(kind, tmp_path):
    path = tmp_path / "net.safetensors"
    save_safetensors({"weight": torch.ones(4)}, {"type": "VLIFNet"}, path)
    assert read_checkpoint(path).network == {"type": "VLIFNet"}
    content = damaged(path.read_bytes(), kind)
    assert content != path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net.safetensors: not a readable safetensors file"):
        read_checkpoint(path)


def test_safetensors_of_others_tell_no_network(tmp_path):
    from safetensors.torch import save_file

    save_file({"module.a": torch.ones(2)}, tmp_path / "a.safetensors")
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.network is None
    assert checkpoint.state.keys() == {"a"}
    with pytest.raises(CheckpointError, match="no such weights file"):
        read_checkpoint(tmp_path / "b.safetensors")


def test_param_key_chooses_and_falls_back(tmp_path):
    state = {"a": torch.ones(1)}
    both = save({"params": state, "params_ema": {"a": torch.zeros(1)}}, tmp_path)
    assert read_checkpoint(both, "params").state["a"].item() == 1
    assert read_checkpoint(both).state["a"].item() == 0
    one = save({"params": state}, tmp_path, "one.pth")
    assert read_checkpoint(one, "params_ema").key == "params"


def test_an_entry_that_is_not_there_is_an_error(tmp_path):
    path = save({"params": {"a": torch.ones(1)}}, tmp_path)
    with pytest.raises(CheckpointError, match="no entry 'weights'"):
        read_checkpoint(path, "weights")


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, capsys):
    for name, dump in (
        ("torch", torch.save),
        ("plain", lambda o, p: p.write_bytes(pickle.dumps(o))),
    ):
        dump({"params": {"w": Malicious()}}, tmp_path / name)
        with pytest.raises(CheckpointError, match=f"{name}: refused"):
            read_checkpoint(tmp_path / name)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "checkpoint"), (b"PK\x03\x04 cut short", "checkpoint"), (None, "no such weights file")],
)
def test_unreadable_files_are_named(content, message, tmp_path):
    path = tmp_path / "bad.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert "bad.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = save({"params": VLIFNet(**SMALL).state_dict()}, tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 3}, {"params": {}}, {"params": {"w": "text"}}]
)
def test_files_without_weights_are_refused(content, tmp_path):
    with pytest.raises(CheckpointError, match=r"weights\.pth: holds"):
        read_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dim": 8}, r"the file has dim 8; the network has dim 16"),
        ({"T": 6}, r"the file has T 6; the network has T 4"),
        ({"formulation": "official"}, r"formulation official"),
        ({"use_refinement": False}, r"use_refinement False"),
        (
            {"en_num_blocks": (2, 2)},
            r"en_num_blocks \[2, 2\]; the network has en_num_blocks \[1, 2\]",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_does_not_fit_is_said_and_nothing_is_loaded(other, message, tmp_path):
    path = save({"params": VLIFNet(**(SMALL | other)).state_dict()}, tmp_path)
    net = VLIFNet(**SMALL)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_strict(net, read_checkpoint(path))
    assert len(str(caught.value)) < 1000
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_another_networks_weights_are_refused_with_a_short_diff(tmp_path):
    path = save({"params": {f"layer{i}.weight": torch.ones(1) for i in range(50)}}, tmp_path)
    with pytest.raises(CheckpointError, match=r"50 unexpected: .* and 47 more"):
        load_strict(VLIFNet(**SMALL), read_checkpoint(path))


@pytest.mark.parametrize(
    "options",
    [
        {"formulation": "paper"},
        {"formulation": "paper", "use_temporal_embedding": False, "use_refinement": False},
        {"formulation": "paper", "T": 2, "r": 3, "dim": 32},
        {"formulation": "official"},
        {"formulation": "official", "use_refinement": True, "num_refinement_blocks": 2},
    ],
)
@pytest.mark.parametrize("names", ["ours", "released"])
def test_options_are_read_off_the_weights(options, names):
    net = VLIFNet(**(SMALL | options))
    state = net.state_dict() if names == "ours" else to_released(net.state_dict(), VLIF_RULES)
    twin = build_network(infer_options(state))
    assert {k: v.shape for k, v in twin.state_dict().items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }


@pytest.mark.parametrize("names", ["ours", "released"])
def test_options_of_esdnet_are_read_off_the_weights(names):
    net = ESDNet(dim=8, en_num_blocks=(1, 2, 3), de_num_blocks=(2, 1, 1), T=2)
    state = net.state_dict() if names == "ours" else net.released_state_dict()
    assert infer_options(state) == {
        "type": "ESDNet", "inp_channels": 3, "out_channels": 3, "dim": 8, "T": 2,
        "en_num_blocks": [1, 2, 3], "de_num_blocks": [2, 1, 1],
    }  # fmt: skip


def test_foreign_weights_tell_no_options():
    assert infer_options({"conv.weight": torch.ones(1)}) is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    save_atomically({"params": {"w": torch.ones(3)}}, path)

    def fails(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="No space"):
        save_atomically({"params": {}}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.pth"]
    assert torch.equal(read_checkpoint(path).state["w"], torch.ones(3))


def test_networks_are_built_by_name_with_near_names_for_typos():
    assert isinstance(build_network({"type": "VLIFNet", **SMALL}), VLIFNet)
    with pytest.raises(OptionError, match=r"'VLIFnet'.*did you mean VLIFNet"):
        build_network({"type": "VLIFnet"})
    with pytest.raises(OptionError, match=r"'formulaton'.*did you mean formulation"):
        build_network({"type": "VLIFNet", "formulaton": "paper"})
    with pytest.raises(OptionError, match="network_g: dim must"):
        build_network({"type": "VLIFNet", "dim": -3})


def test_a_full_disk_is_an_oserror_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.pth"
    save_atomically({"a": torch.zeros(3)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_atomically({"a": torch.rand(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path, weights_only=True)["a"].tolist() == [0, 0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]
