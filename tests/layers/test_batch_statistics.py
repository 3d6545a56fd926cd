"""BatchNorm statistics of averaged weights: which batches they are of, and what stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vlif_plugin.layers import AveragedStatistics, batch_statistics, gathering

WINDOW = 5
DECAY = 0.8


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_statistics, "BATCHES", WINDOW)


class Noisy(nn.Module):
    """Draws random numbers in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


def a_net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)
    ).double()  # fmt: skip


class Training:
    """Weights that wander, their average as toolboxes keep it, and what it was given."""

    def __init__(self, net: nn.Sequential, periods: list[int], total: int) -> None:
        self.net = net.train()
        self.average = copy.deepcopy(net).eval()
        self.statistics = AveragedStatistics(self.average, self.net, periods, total)
        self.draws = torch.Generator().manual_seed(1)
        self.moments: dict[int, Tensor] = {}

    def step(self, iteration: int) -> None:
        batch = self._drawn(2, 3, 4, 4)
        with torch.no_grad():
            self.net(batch)
            for p in self.net.parameters():
                p += 0.1 * self._drawn(*p.shape)
            self.statistics.keep(iteration)
            for ours, theirs in zip(self.average.parameters(), self.net.parameters(), strict=True):
                ours.lerp_(theirs, 1 - DECAY)
            for ours, theirs in zip(self.average.buffers(), self.net.buffers(), strict=True):
                ours.copy_(theirs)
            before = self.average[0](batch)
        variance, mean = torch.var_mean(before, (0, 2, 3))
        self.moments[iteration] = torch.stack([mean, variance])
        self.statistics.gather(iteration, lambda: self.average(batch))

    def _drawn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draws, dtype=torch.float64)

    def found(self) -> Tensor:
        norm = self.average[1]
        return torch.stack([norm.running_mean, norm.running_var])

    def mean_of(self, iterations: range) -> Tensor:
        return torch.stack([self.moments[i] for i in iterations]).mean(0)


def test_statistics_are_of_the_last_batches_before_each_use() -> None:
    training = Training(a_net(), [12, 9], 22)
    for iteration in range(1, 23):
        training.step(iteration)
        if iteration == 9:
            torch.testing.assert_close(training.found(), training.mean_of(range(5, 10)))
            assert training.average[1].num_batches_tracked == WINDOW
        if iteration == 22:  # it has gathered from 14 on, for the use at 18
            torch.testing.assert_close(training.found()[0], exponential(training, range(14, 23)))
    assert not torch.allclose(training.found()[0], training.net[1].running_mean)


def exponential(training: Training, iterations: range) -> Tensor:
    """Mean of some iterations' means: plain for the first five, then a fifth for each new one."""
    value = training.mean_of(iterations[:WINDOW])[0]
    for i in iterations[WINDOW:]:
        value = value + (training.moments[i][0] - value) / WINDOW
    return value


def test_between_uses_nothing_runs_and_statistics_are_the_trained_network_s() -> None:
    training = Training(a_net(), [20], 100)
    for iteration in range(1, 16):
        training.step(iteration)
        assert torch.equal(training.found()[0], training.net[1].running_mean)
    assert [i for i in range(101) if training.statistics.gathers(i)] == [
        *range(16, 21), *range(36, 41), *range(56, 61), *range(76, 81), *range(96, 101)
    ]  # fmt: skip


def test_what_is_used_at_every_iteration_is_of_the_last_batches_too() -> None:
    training = Training(a_net(), [1], 12)
    for iteration in range(1, 13):
        training.step(iteration)
    torch.testing.assert_close(training.found()[0], exponential(training, range(1, 13)))


def test_a_resumed_run_goes_on_to_the_bit() -> None:
    whole = Training(a_net(), [8, 10], 30)
    for iteration in range(1, 13):
        whole.step(iteration)
    resumed = Training(a_net(), [8, 10], 30)
    for iteration in range(1, 9):  # saved among iterations that gather
        resumed.step(iteration)
    again = Training(a_net(), [8, 10], 30)
    again.net.load_state_dict(resumed.net.state_dict())
    again.average.load_state_dict(resumed.average.state_dict())
    again.draws.set_state(resumed.draws.get_state())
    for iteration in range(9, 13):
        again.step(iteration)
    assert torch.equal(again.found(), whole.found())


def test_frozen_layers_keep_the_statistics_that_they_are_frozen_with() -> None:
    training = Training(a_net(), [3], 3)
    training.net[1].eval()
    training.net[1].running_mean.fill_(7.0)
    for iteration in range(1, 4):
        training.step(iteration)
    assert (training.average[1].running_mean == 7.0).all()
    assert training.average[4].num_batches_tracked == 3


def test_modes_momenta_and_random_states_stay() -> None:
    net = nn.Sequential(a_net(), Noisy())
    averaged = copy.deepcopy(net).eval()
    averaged[0][1].momentum = 0.3
    statistics = AveragedStatistics(averaged, net, [2], 2)
    state = torch.get_rng_state()
    seen = []
    averaged[0][2].register_forward_hook(lambda module, given, out: seen.append((given[0], out)))
    statistics.keep(1)
    statistics.gather(1, lambda: averaged(torch.rand(1, 3, 4, 4, dtype=torch.float64)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in averaged.modules())
    assert averaged[0][1].momentum == 0.3
    ((given, out),) = seen
    assert torch.equal(given, out)  # nothing is dropped
    assert not out.requires_grad


def test_gathering_gives_momentum_and_mode_back_after_an_error() -> None:
    norm = nn.BatchNorm2d(2, momentum=0.25).eval()
    with pytest.raises(ZeroDivisionError), gathering([norm]):  # noqa: PT012 (the context is tried)
        assert norm.training
        raise ZeroDivisionError
    assert not norm.training
    assert norm.momentum == 0.25


def test_a_network_without_batchnorm_is_never_run() -> None:
    net = nn.Conv2d(1, 1, 1)
    statistics = AveragedStatistics(copy.deepcopy(net), net, [1], 2)
    statistics.keep(1)
    statistics.gather(1, lambda: pytest.fail("it was run"))
