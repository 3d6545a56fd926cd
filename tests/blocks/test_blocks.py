import pytest
import torch
from helpers import part, reference, relative_error

from vlif_plugin.archs._released_keys import ESD_RULES, VLIF_RULES, released_key
from vlif_plugin.blocks import (
    SDEM,
    SMU,
    DownSampling,
    SkipFusion,
    SpikingConfig,
    SpikingResidualBlock,
    SpikingUnit,
    UpSampling,
)
from vlif_plugin.layers import enlarge

OFFICIAL = SpikingConfig(formulation="official")
# reference file, block, our name of the block in the network, the released code's
CASES = [
    ("esd_block", SpikingResidualBlock(16, attention=True), "encoder2.0.", "encoder_level2.0."),
    ("sdem", SDEM(16, OFFICIAL), "encoder2.0.", "encoder_level2.0."),
    ("smu", SMU(16, OFFICIAL), "encoder1.", "encoder_level1."),
    ("downsampling", DownSampling(16, OFFICIAL), "down1.", "down1_2."),
    ("upsampling", UpSampling(16, OFFICIAL), "up2.", "up3_2."),
]


@pytest.mark.parametrize(
    ("name", "block", "ours", "theirs"), CASES, ids=[case[0] for case in CASES]
)
def test_released_block_is_reproduced_in_both_modes_with_all_gradients(name, block, ours, theirs):
    arrays = reference(name)
    block = block.double()
    rules = ESD_RULES if name == "esd_block" else VLIF_RULES
    names = {
        key: released_key(ours + key, rules).removeprefix(theirs) for key in block.state_dict()
    }
    state = part(arrays, "state/")
    assert set(names.values()) == set(state)
    block.load_state_dict(
        {key: state[names[key]].view_as(value) for key, value in block.state_dict().items()}
    )
    x = arrays["x"].requires_grad_()
    assert relative_error(block.eval()(x), arrays["y_eval"]) < 1e-9
    y = block.train()(x)
    assert relative_error(y, arrays["y_train"]) < 1e-9
    (y * arrays["g"]).sum().backward()
    assert relative_error(x.grad, arrays["grad_x"]) < 1e-9
    for key, parameter in block.named_parameters():
        expected = arrays["grad/" + names[key]].view_as(parameter)
        assert relative_error(parameter.grad, expected) < 1e-9, key


def test_paper_sdem_is_equations_8_to_14():
    block, x = SDEM(6, SpikingConfig(T=2)).double(), torch.randn(2, 1, 6, 8, 8, dtype=torch.float64)
    torch.nn.init.ones_(block.stage1.project.bn.weight)  # with tdBN's own scale stage 2 is silent
    for stage, (alpha, beta) in ((block.stage1, (0.7, 1.3)), (block.stage2, (1.1, 0.6))):
        stage.alpha.data.fill_(alpha)
        stage.beta.data.fill_(beta)
    features = x
    for stage in (block.stage1, block.stage2):
        x_h = stage.alpha * enlarge(stage.neuron(features), features)  # eq. 8
        x_l = features - x_h
        assert x_h.any()
        features = stage.project(x_h * features + stage.beta * x_l + features)  # eq. 9 and 10
    shortcut = block.shortcut(x)  # eq. 11
    refined = features + shortcut  # eq. 12
    expected = refined + shortcut + block.attention(refined)  # eq. 13 and 14
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("formulation", ["paper", "official"])
@pytest.mark.parametrize("neuron", ["hybrid", "lif", "ilif", "vlif_c", "vlif_t"])
def test_blocks_keep_shapes_with_every_neuron(formulation, neuron):
    config = SpikingConfig(T=3, r=3, formulation=formulation, neuron=neuron)
    x = torch.randn(3, 2, 8, 12, 6)
    for block in (SDEM(8, config), SMU(8, config), SpikingUnit(8, config)):
        y = block(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


def test_sampling_blocks_change_size_and_width():
    x = torch.randn(4, 1, 6, 8, 12)
    assert DownSampling(6)(x).shape == (4, 1, 12, 4, 6)
    assert UpSampling(6)(x).shape == (4, 1, 3, 16, 24)
    assert SkipFusion(6)(x, x).shape == x.shape


def test_residual_block_is_body_plus_shortcut():
    block, x = SpikingResidualBlock(4), torch.randn(4, 1, 4, 6, 6)
    torch.testing.assert_close(block(x), block.body(x) + block.shortcut(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"T": 0}, "T must"),
        ({"D": 2.5}, "D must"),
        ({"r": True}, "r must"),
        ({"tau": "2.0"}, "tau must"),
        ({"beta": float("nan")}, "beta must"),
        ({"formulation": "released"}, "paper, official"),
        ({"neuron": "vlif"}, "vlif_c"),
    ],
)
def test_impossible_constants_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpikingConfig(**arguments)
