"""Two processes with their shares against one with the joined batch; all of it in one launch.

Run as a script, this file is one of the two processes.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vlif_plugin.archs import build_network
from vlif_plugin.layers import (
    AveragedStatistics,
    ThresholdDependentBatchNorm2d,
    synchronise_batchnorm,
)

CHANNELS = 5
SHARES = ((1, CHANNELS, 4, 6), (3, CHANNELS, 4, 6))


class Doubled(nn.BatchNorm2d):
    """A layer that goes on after its BatchNorm."""

    def forward(self, input):
        return 2 * super().forward(input)


def copied(norm):
    return pickle.loads(pickle.dumps(copy.deepcopy(synchronise_batchnorm(norm))))


def held(norm):
    norm.track_running_stats = False
    return synchronise_batchnorm(norm)


class Close(NamedTuple):
    """How close means, variances, parameters' gradients, and outputs and inputs' gradients come."""

    mean: float = 1e-12
    variance: float = 1e-12
    parameters: float = 1e-11
    values: float = 1e-11


@dataclass
class Case:
    """A layer, the shapes of the processes' inputs, and where its values lie."""

    norm: Callable[..., nn.Module] = nn.BatchNorm2d
    shares: tuple[tuple[int, ...], ...] = SHARES
    arguments: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[nn.Module], nn.Module] = synchronise_batchnorm
    dtype: torch.dtype = torch.float64
    weights: torch.dtype = torch.float64
    mean: float = 0.3
    form: torch.memory_format = torch.contiguous_format
    close: Close = field(default_factory=Close)


HALF, SINGLE = torch.bfloat16, torch.float32
CASES = {
    "BatchNorm2d": Case(),
    "tdBN, other image sizes": Case(
        ThresholdDependentBatchNorm2d, ((2, CHANNELS, 3, 7), (3, CHANNELS, 4, 6)), {"v_threshold": 0.15}
    ),
    "BatchNorm1d": Case(nn.BatchNorm1d, ((3, CHANNELS), (4, CHANNELS))),
    "BatchNorm1d of sequences": Case(nn.BatchNorm1d, ((3, CHANNELS, 7), (4, CHANNELS, 2))),
    "BatchNorm3d": Case(nn.BatchNorm3d, ((1, CHANNELS, 2, 3, 4), (2, CHANNELS, 3, 1, 5))),
    "without weight": Case(arguments={"affine": False}),
    "without bias": Case(arguments={"bias": False}),
    "cumulative statistics": Case(arguments={"momentum": None}),
    "without statistics": Case(arguments={"track_running_stats": False}),
    "statistics that are held": Case(prepare=held),
    "channels last": Case(form=torch.channels_last),
    "no image for one": Case(shares=((0, CHANNELS, 4, 6), (3, CHANNELS, 4, 6))),
    "one value each": Case(shares=((1, CHANNELS, 1, 1), (1, CHANNELS, 1, 1))),
    "forward of its own": Case(Doubled),
    "copied and pickled": Case(prepare=copied),
    "float32, far from 0": Case(
        nn.BatchNorm2d, ((12, CHANNELS, 64, 64), (7, CHANNELS, 48, 64)), {"momentum": 1.0},
        dtype=SINGLE, weights=SINGLE, mean=1000, close=Close(4e-8, 1e-6, 2e-4, 2e-4)  # 3e-5 is rounding at 1000
    ),
    "autocast": Case(dtype=HALF, weights=SINGLE, close=Close(4e-8, 1e-6, 1e-6, 8e-3)),
    "all in bfloat16": Case(dtype=HALF, weights=HALF, close=Close(8e-3, 8e-3, 8e-3, 8e-3)),
}  # fmt: skip
STEPS = 2


def build(case: Case) -> nn.Module:
    norm = case.norm(CHANNELS, **case.arguments)
    generator = torch.Generator().manual_seed(1)
    for parameter in norm.parameters():
        parameter.data += torch.rand(parameter.shape, generator=generator)
    return norm.to(case.weights)


def given(case: Case, step: int) -> list[tuple[Tensor, Tensor]]:
    """Of each process its input and the gradient of its output."""
    generator = torch.Generator().manual_seed(step)

    def drawn(shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(case.dtype).contiguous(memory_format=case.form)

    inputs = [(drawn(shape) + case.mean + rank, drawn(shape)) for rank, shape in enumerate(case.shares)]  # fmt: skip
    return [(x.detach().requires_grad_(), grad) for x, grad in inputs]


def trained(case: Case, norm: nn.Module, rank: int) -> dict[str, Any]:
    """What two steps of training on a process's share leave."""
    outputs = []
    for step in range(STEPS):
        x, grad = given(case, step)[rank]
        with torch.autocast("cpu", enabled=case.dtype is HALF):
            y = norm(x)
        y.backward(grad)
        outputs.append((y.detach(), x.grad))
    return {
        "outputs": outputs,
        "gradients": {n: p.grad for n, p in norm.named_parameters()},
        "statistics": dict(norm.named_buffers()),
        # no other process runs the network now, nor has to
        "eval": norm.eval()(x).detach() if rank == 0 else None,
    }


def accumulated(net: nn.Module, batches: list[Tensor]) -> dict[str, Any]:
    """Gradients of several backward passes, of which DDP joins the last."""
    net.train()
    for batch in batches[:-1]:
        with net.no_sync() if isinstance(net, DistributedDataParallel) else torch.enable_grad():
            net(batch).square().mean().backward()
    net(batches[-1]).square().mean().backward()
    bare = net.module if isinstance(net, DistributedDataParallel) else net
    return {
        "gradients": {n: p.grad for n, p in bare.named_parameters()},
        "statistics": dict(bare.named_buffers()),
    }


def small_net() -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), ThresholdDependentBatchNorm2d(6), nn.Sigmoid(), nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1),
    )  # fmt: skip
    return net.double(), list(torch.rand(3, 2, 3, 8, 9, dtype=torch.float64))


def averaged_statistics(rank: int) -> dict[str, Tensor]:
    """What a copy of a network gathers from three batches of which each process sees one image."""
    net, batches = small_net()
    average = copy.deepcopy(net).eval()
    statistics = AveragedStatistics(average, net, [], len(batches))
    for iteration, batch in enumerate(batches, 1):
        statistics.keep(iteration)
        statistics.gather(iteration, lambda batch=batch: average(batch[rank::2]))
    return dict(average.named_buffers())


def refusals() -> dict[str, str]:
    """What is said of an input of the wrong shape, and of a second derivative."""
    norm, said = synchronise_batchnorm(nn.BatchNorm2d(CHANNELS)), {}
    try:
        norm(torch.rand(2, CHANNELS, 4))
    except ValueError as error:
        said["shape"] = str(error)
    x = torch.rand(2, CHANNELS, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(norm(x).square().sum(), x, create_graph=True)
    try:
        slope.sum().backward()
    except RuntimeError as error:
        said["second"] = str(error)
    return said


def run_as_one_of_two() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    results: dict[str, Any] = {
        name: trained(case, case.prepare(build(case)), rank) for name, case in CASES.items()
    }
    results["refusals"] = refusals()
    net, batches = small_net()
    wrapped = DistributedDataParallel(synchronise_batchnorm(net))
    results["accumulated"] = accumulated(wrapped, [batch[rank::2] for batch in batches])
    results["averaged"] = averaged_statistics(rank)
    options, state, x = torch.load("live.pt", weights_only=True)
    net = build_network(options).double()
    net.load_state_dict(state)
    for way, prepare in (("synchronised", synchronise_batchnorm), ("local", lambda net: net)):
        wrapped = DistributedDataParallel(prepare(copy.deepcopy(net)))
        results[way] = accumulated(wrapped, [x[rank::2]])
    torch.save(results, f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A VLIF network that fires and two images; the folder in which the processes find them."""
    from helpers import TINY_NET, make_live  # not on the path of the two processes

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("two")
    x = torch.rand(2, 3, 16, 24)
    net, x = make_live(build_network(TINY_NET), x).double(), x.double()
    torch.save((TINY_NET, net.state_dict(), x), folder / "live.pt")
    return folder, net, x


@pytest.fixture(scope="module")
def two(live):
    """The results of both processes."""
    import warm  # not on their path

    folder, *_ = live
    warm.together(folder, __file__)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def rows(x: Tensor) -> Tensor:
    """(N, C, ...) as (N * ..., C): all that BatchNorm knows of it."""
    return x.transpose(0, 1).flatten(1).T


def joined(case: Case) -> dict[str, Any]:
    """The same two steps in one process, in float64."""
    factor = 2 if case.norm is Doubled else 1
    norm = nn.BatchNorm1d(
        CHANNELS, **{k: v for k, v in case.arguments.items() if k != "v_threshold"}
    )
    norm.double().load_state_dict(build(case).state_dict())
    norm.track_running_stats = case.prepare(build(case)).track_running_stats
    outputs = []
    for step in range(STEPS):
        shares = given(case, step)
        x = torch.cat([rows(x.detach()) for x, _ in shares]).double().requires_grad_()
        y = factor * norm(x)
        y.backward(torch.cat([rows(grad) for _, grad in shares]).double())
        sizes = [len(rows(x)) for x, _ in shares]
        outputs.append([part.split(sizes) for part in (y.detach(), x.grad)])
    return {
        "outputs": outputs,
        "gradients": {n: p.grad for n, p in norm.named_parameters()},
        "statistics": dict(norm.named_buffers()),
    }


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=tolerance, atol=tolerance * scale
    )


@pytest.mark.parametrize("name", CASES)
def test_two_processes_compute_what_one_does_of_the_joined_batch(name, two):
    case, expected = CASES[name], joined(CASES[name])
    for rank, result in enumerate(r[name] for r in two):
        for actual, of_all in zip(result["outputs"], expected["outputs"], strict=True):
            for share, shares in zip(actual, of_all, strict=True):
                assert share.dtype == case.dtype
                assert share.is_contiguous(memory_format=case.form)
                close(rows(share), shares[rank], case.close.values)
        assert result["statistics"].keys() == expected["statistics"].keys()
        for key, value in expected["statistics"].items():
            tolerance = case.close.variance if key == "running_var" else case.close.mean
            close(result["statistics"][key], value, tolerance)
    assert {*two[0][name]["gradients"]} == {*expected["gradients"]}
    for key, value in expected["gradients"].items():
        close(sum(r[name]["gradients"][key] for r in two), value, case.close.parameters)


@pytest.mark.parametrize("name", ["BatchNorm2d", "cumulative statistics", "without bias"])
def test_in_eval_mode_a_process_needs_no_other(name, two):
    case, result = CASES[name], two[0][name]
    norm = build(case).eval()
    norm.load_state_dict({**norm.state_dict(), **result["statistics"]})
    assert torch.equal(result["eval"], norm(given(case, STEPS - 1)[0][0]))


def test_gradients_of_a_live_network_are_those_of_one_process(live, two):
    """And with each process's own statistics they are not."""
    _, net, x = live
    expected = accumulated(copy.deepcopy(net), [x])
    largest = max(gradient.abs().max().item() for gradient in expected["gradients"].values())
    reached = [bool((gradient != 0).any()) for gradient in expected["gradients"].values()]
    assert sum(reached) > 0.8 * len(reached)
    for results in two:
        for part in ("gradients", "statistics"):
            for key, value in expected[part].items():
                torch.testing.assert_close(
                    results["synchronised"][part][key], value, rtol=1e-9, atol=1e-11 * largest
                )
    local = two[0]["local"]["gradients"]
    apart = [(local[k] - g).abs().max().item() for k, g in expected["gradients"].items()]
    assert max(apart) > 1e-3 * largest


def test_gradients_that_are_accumulated_without_ddps_join_too(two):
    expected = accumulated(*small_net())
    for results in two:
        for part in ("gradients", "statistics"):
            for key, value in expected[part].items():
                close(results["accumulated"][part][key], value, 1e-11)


def test_what_plain_batchnorm_refuses_is_refused_and_second_derivatives_are(two):
    for results in two:
        assert results["refusals"]["shape"] == "expected 4D input (got 3D input)"
        assert "differentiate twice" in results["refusals"]["second"]


@pytest.mark.parametrize("group", [False, True], ids=["no group", "a group of one"])
@pytest.mark.parametrize("name", ["BatchNorm2d", "float32, far from 0", "cumulative statistics"])
def test_alone_it_is_plain_batchnorm_bit_for_bit(name, group, tmp_path):
    case = CASES[name]
    if group:
        dist.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        alone = trained(case, synchronise_batchnorm(build(case)), 1)
    finally:
        if group:
            dist.destroy_process_group()
    torch.testing.assert_close(alone, trained(case, build(case), 1), rtol=0, atol=0)


def test_weights_go_both_ways_and_layers_stay_what_they_are():
    net, _ = small_net()
    plain = copy.deepcopy(net)
    before = [*net.modules(), *net.parameters(), *net.buffers()]
    synced = synchronise_batchnorm(synchronise_batchnorm(net))
    after = [*synced.modules(), *synced.parameters(), *synced.buffers()]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert isinstance(synced[1], ThresholdDependentBatchNorm2d)
    assert "Synchronised" in repr(synced[1])
    assert "Synchronised" not in repr(plain)
    assert type(synced[4]) is type(synchronise_batchnorm(nn.BatchNorm2d(2)))
    for one, other in ((synced, plain), (plain, synced)):
        nn.init.normal_(one[1].weight)
        other.load_state_dict(one.state_dict(), strict=True)
        assert torch.equal(other[1].weight, one[1].weight)


def test_torchs_own_synchronised_layer_is_left_as_it_is():
    net = nn.Sequential(nn.SyncBatchNorm(3))
    synchronise_batchnorm(net)
    assert type(net[0]) is nn.SyncBatchNorm


def test_statistics_of_averaged_weights_are_the_mean_over_processes(two):
    shares = [averaged_statistics(rank) for rank in range(2)]
    for result in (r["averaged"] for r in two):
        assert result.keys() == shares[0].keys()
        for key, value in result.items():
            expected = torch.stack([share[key] for share in shares]).double().mean(0)
            torch.testing.assert_close(value.double(), expected, rtol=1e-12, atol=1e-12)
    assert any((shares[0][key] != shares[1][key]).any() for key in shares[0])


if __name__ == "__main__":
    run_as_one_of_two()
