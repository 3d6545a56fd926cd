"""Folding BatchNorm leaves a network what it computes."""

import pytest
import torch
from helpers import FORMS, RESTORERS, live_net, relative_error
from torch import nn

from vlif_plugin.speed import folded


@pytest.mark.parametrize("form", FORMS)
def test_a_folded_network_computes_the_same(form):
    net, x = live_net(form)
    net.train()  # whatever mode it is in
    state = {k: v.clone() for k, v in net.state_dict().items()}
    inference = folded(net)
    with torch.no_grad():
        result = inference(x)
        assert net.training
        assert relative_error(result, net.eval()(x)) < 1e-9
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not inference.training
    assert not any(p.requires_grad for p in inference.parameters())
    norms = [m for m in inference.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == (
        0 if form in RESTORERS else len([m for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    )


def test_narrow_weights_stay_narrow():
    net, _ = live_net("VLIFNet, official")
    inference = folded(net.bfloat16())
    assert {p.dtype for p in inference.parameters()} == {torch.bfloat16}
