"""Reports over images, and networks brought to life."""

import statistics

import pytest
import torch
from helpers import SMALL

from vlif_plugin.archs import VLIFNet
from vlif_plugin.energy import PRESETS, EnergyMeter, calibrate_batchnorm, count_ops

IMAGES = torch.rand(3, 1, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def reports():
    torch.manual_seed(0)
    net = VLIFNet(**SMALL, formulation="official")
    assert calibrate_batchnorm(net, IMAGES) > 20
    return [count_ops(net, image) for image in IMAGES]


def test_means_and_spreads_are_those_of_all_values(reports):
    meter = EnergyMeter(PRESETS["paper"])
    for report in reports:
        meter.add(report)
    for name, spread in meter.totals.items():
        values = [float(report.totals(PRESETS["paper"])[name]) for report in reports]
        assert spread.mean == pytest.approx(statistics.mean(values), rel=1e-12)
        assert spread.std == pytest.approx(statistics.stdev(values), rel=1e-9)
        assert (spread.least, spread.most, spread.count) == (min(values), max(values), 3)
    assert meter.totals["sops"].std > 0
    assert meter.totals["macs"].std == 0
    energies = [report.energy_uj(PRESETS["paper"]) for report in reports]
    by_layer = sum(layer["energy_uj"].mean for layer in meter.layers.values())
    assert by_layer == pytest.approx(
        statistics.mean(e["macs"] + e["sops"] for e in energies), rel=1e-9
    )
    for neuron in reports[0].neurons:
        rates = [
            n.event_rate for report in reports for n in report.neurons if n.name == neuron.name
        ]
        assert meter.neurons[neuron.name]["event_rate"].mean == pytest.approx(
            statistics.mean(rates), abs=1e-12
        )
        steps = meter.steps[neuron.name]
        assert len(steps) == len(neuron.step_events)
        mean_over_steps = statistics.mean(spread.mean for spread in steps)
        assert mean_over_steps == pytest.approx(statistics.mean(rates), abs=1e-9)
    assert meter.as_dict()["images"] == 3


def test_a_silent_network_is_said_to_be_one_and_can_be_calibrated():
    torch.manual_seed(0)
    net = VLIFNet(**SMALL, formulation="official").train()
    silent = count_ops(net, IMAGES[0])
    assert any("untrained" in note for note in silent.notes)
    weights = {
        k: v.clone() for k, v in net.state_dict().items() if "running" not in k and "num_b" not in k
    }
    calibrate_batchnorm(net, IMAGES)
    assert net.training
    assert all(torch.equal(net.state_dict()[k], v) for k, v in weights.items())
    alive = count_ops(net, IMAGES[0])
    assert not any("untrained" in note for note in alive.notes)
    assert alive.firing_rate > 2 * silent.firing_rate
    living = [sum(n.firing_rate > 0.001 for n in report.neurons) for report in (silent, alive)]
    assert living[1] > living[0] + 5
    # what does not depend on spikes does not change
    assert (alive.macs, alive.updates) == (silent.macs, silent.updates)
