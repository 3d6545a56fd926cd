import copy
import json
import math
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import live_net, without
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader, Dataset

from vlif_plugin.energy import EnergyMeter, centre, costs_of, count_ops
from vlif_plugin.errors import OptionError
from vlif_plugin.mmengine_host.hooks import HOOKS, EnergyHook, FiringRateHook, PictureHook
from vlif_plugin.neurons import LIFNode, SpikingNeuron, sum_counts


class StandIn(BaseModel):
    """What the hooks need of the model: net_g, and results as validation gives them."""

    def __init__(self, net):
        super().__init__()
        self.net_g = net

    def forward(self, lq, lq_path, index, gt=None, mode="tensor"):  # pyright: ignore[reportIncompatibleMethodOverride]
        output = self.net_g(lq)
        if mode == "loss":
            return {"loss": (output - gt).abs().mean()}
        samples = []
        for i in range(len(lq)):
            images: Any = {"lq": lq[i], "output": output[i]} | ({} if gt is None else {"gt": gt[i]})
            metainfo = {"lq_path": lq_path[i], "index": int(index[i])}
            samples.append(BaseDataElement(metainfo=metainfo, **images))
        return samples


class Images(Dataset):
    def __init__(self, count, *, gt=True, names=None, size=(24, 40), name="rain", order=None):
        self.lq = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))
        self.gt = self.lq.flip(-1) if gt else None
        self.names = names or [f"/data/rain/{i:03d}.png" for i in range(count)]
        self.metainfo = {"name": name}
        self.order = order or range(count)

    def __len__(self):
        return len(self.order)

    def __getitem__(self, place):
        i = self.order[place]
        item = {"lq": self.lq[i], "lq_path": self.names[i], "index": i}
        return item if self.gt is None else item | {"gt": self.gt[i]}


class NoMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        pass

    def compute_metrics(self, results):
        return {}

    def evaluate(self, size):
        return {}  # no gathering, which needs the processes to be real


class RunsTheNetwork(NoMetric):
    """As snn_energy does."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def process(self, data_batch, data_samples):
        self.net(torch.zeros(1, 3, 24, 40))


class Scale(nn.Module):
    """A network whose results leave [0, 1]."""

    def forward(self, x):
        return x * 1.5 - 0.25


class Named(nn.Module):
    """A neuron under a name of choice between image and result."""

    def __init__(self, name, neuron):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.name = name
        self.add_module(name, neuron)

    def forward(self, x):
        return self.conv(getattr(self, self.name)(3 * x[None])[0])


def make_runner(folder, net, *hooks, train=None, iters=2, val=None, test=None, lr=0.0, every=1):
    """A runner over batches of one image, the learning rate 0 unless said otherwise."""
    sections: dict[str, Any] = {}
    default_hooks: Any = {"logger": {"type": "LoggerHook", "interval": 1}, "checkpoint": None}
    if train is not None:
        sections |= {
            "train_dataloader": DataLoader(train),
            "train_cfg": {"by_epoch": False, "max_iters": iters, "val_interval": every},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": lr}},
        }
    for name, data in (("val", val), ("test", test)):
        if data is not None:
            sections |= {
                f"{name}_dataloader": data if isinstance(data, DataLoader) else DataLoader(data),
                f"{name}_cfg": {},
                f"{name}_evaluator": [NoMetric()],
            }
    return Runner(
        model=StandIn(net),
        work_dir=str(folder),
        default_hooks=default_hooks,
        custom_hooks=list(hooks),
        log_processor={"by_epoch": False},
        visualizer={
            "type": "Visualizer",
            "name": uuid.uuid4().hex,
            "vis_backends": [{"type": "LocalVisBackend"}],
        },
        experiment_name=uuid.uuid4().hex,
        randomness={"seed": 0},
        **sections,
    )


def scalars(runner):
    lines = (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def log(runner):
    (file,) = Path(runner.log_dir).glob("*.log")
    return file.read_text()


def files(runner, pattern):
    folder = Path(runner.log_dir)
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))


def read(runner, path) -> Any:
    return cv2.imread(str(Path(runner.log_dir) / path))


def activity(net: Any, x: Any, *, train=True):
    """Spikes and updates of each neuron as net(x) runs, in training unless said, counted one by one."""
    net = copy.deepcopy(net).train(train)
    found = {}

    def count(name, out):
        found[name] = np.count_nonzero(out.numpy()), math.prod(out.shape)

    for name, module in net.named_modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_hook(lambda _, __, out, name=name: count(name, out))
    with torch.no_grad():
        net(x)
    return found


def pooled(found):
    spikes, updates = map(sum, zip(*found.values(), strict=True))
    return spikes / updates


def live(form="VLIFNet, paper"):
    return live_net(form)[0].float()


def as_other_process(monkeypatch):
    monkeypatch.setattr("mmengine.dist.utils.get_rank", lambda group=None: 1)


def picture(*images):
    """Images side by side as a PNG file has them, in BGR."""
    rows = np.concatenate([image.numpy().transpose(1, 2, 0) for image in images], axis=1)
    return np.round(np.clip(rows, 0, 1) * 255).astype(np.uint8)[..., ::-1]


def test_the_list_holds_the_hooks_by_name():
    assert {
        "FiringRateHook": FiringRateHook,
        "EnergyHook": EnergyHook,
        "PictureHook": PictureHook,
    } == HOOKS


@pytest.mark.parametrize(
    ("hook", "options", "message"),
    [
        (FiringRateHook, {"interval": 0}, "interval must be a whole number of at least 1, got 0"),
        (FiringRateHook, {"interval": True}, "interval must be a whole number"),
        (FiringRateHook, {"per_layer": 1}, "per_layer must be True or False, got 1"),
        (EnergyHook, {"size": 0}, "size must be a whole number of at least 1, got 0"),
        (EnergyHook, {"size": 2.5}, "size must be a whole number"),
        (EnergyHook, {"costs": "papr"}, "no energy constants are called 'papr'; did you mean"),
        (EnergyHook, {"costs": ["paper"]}, "costs must be a name"),
        (EnergyHook, {"interval": "2"}, "interval must be a whole number"),
        (PictureHook, {"count": -1}, "count must be a whole number of at least 0, got -1"),
        (PictureHook, {"save_all": None}, "save_all must be True or False, got None"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_an_option_of_the_wrong_kind_is_refused_by_name(hook, options, message):
    with pytest.raises(OptionError) as refused:
        hook(**options)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("hook", [FiringRateHook(), EnergyHook()], ids=["rate", "energy"])
def test_a_model_without_a_network_is_refused_before_training(tmp_path, hook):
    runner = make_runner(tmp_path, nn.Conv2d(3, 3, 1), hook, train=Images(2))
    runner.model.network = runner.model.net_g
    del runner.model.net_g
    with pytest.raises(OptionError, match="a network net_g, StandIn has none"):
        runner.train()


# firing rates


def test_firing_rate_is_that_of_all_updates_and_per_layer_of_each_neuron(tmp_path):
    net, data = live(), Images(1)
    expected = activity(net, data.lq)
    rates = {name: spikes / updates for name, (spikes, updates) in expected.items()}
    runner = make_runner(
        tmp_path, net, FiringRateHook(interval=1, per_layer=True), train=data, iters=1
    )
    runner.train()
    (logged,) = scalars(runner)
    assert logged["firing_rate"] == pooled(expected)
    assert abs(pooled(expected) - sum(rates.values()) / len(rates)) > 1e-3  # weights matter here
    assert logged["silent_neurons"] == 0
    assert {f"firing_rate/{name}": rate for name, rate in rates.items()} == {
        key: value for key, value in logged.items() if key.startswith("firing_rate/")
    }
    assert f"firing_rate: {pooled(expected):.4f}  silent_neurons: 0  " in log(runner)
    assert "no spiking neurons" not in log(runner)


def test_neurons_without_a_spike_are_silent(tmp_path):
    net = live()
    first, second, *_ = activity(net, torch.rand(1, 3, 24, 40))
    net = without(without(net, first), second)
    runner = make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(1), iters=1)
    runner.train()
    (logged,) = scalars(runner)
    assert logged["silent_neurons"] == 2
    assert not [key for key in logged if "/" in key]  # layers only on demand


def test_each_interval_is_measured_and_its_value_stays_till_the_next(tmp_path):
    net, data = live("ESDNet"), Images(5, size=(32, 40))
    rates = [pooled(activity(net, data.lq[i : i + 1])) for i in range(5)]
    assert len(set(rates)) == 5
    runner = make_runner(tmp_path, net, FiringRateHook(interval=2), train=data, iters=5)
    runner.train()
    logged = [line.get("firing_rate") for line in scalars(runner)]
    assert logged == [None, rates[1], rates[1], rates[3], rates[3]]


def test_a_layer_whose_name_the_log_would_average_is_logged_as_measured_last(tmp_path):
    net, data = Named("time", LIFNode()), Images(3)
    data.lq[1] *= 0.5  # fires less
    rates = [pooled(activity(net, data.lq[i : i + 1])) for i in range(3)]
    assert rates[1] < rates[0] - 0.1
    hook = FiringRateHook(interval=1, per_layer=True)
    runner = make_runner(tmp_path, net, hook, train=data, iters=3)
    runner.train()
    assert [line["firing_rate/time"] for line in scalars(runner)] == rates


def test_a_validation_between_is_not_measured(tmp_path):
    net, data, dark = Named("lif", LIFNode()), Images(2), Images(1)
    dark.lq.zero_()
    hook = FiringRateHook(interval=1)
    runner = make_runner(tmp_path, net, hook, train=data, val=dark, iters=2)
    runner.train()
    assert runner.message_hub.get_scalar("train/firing_rate").current() == pooled(
        activity(net, data.lq[1:])
    )


@pytest.mark.filterwarnings("ignore:.*use_reentrant")
def test_what_activation_checkpointing_runs_again_is_not_measured(tmp_path):
    net: Any = Named("lif", LIFNode())
    data = Images(1)
    calls = []
    net.lif.register_forward_hook(lambda *_: calls.append(1))
    runner = make_runner(tmp_path, net, FiringRateHook(interval=1), train=data, iters=1)
    turn_on_activation_checkpointing(runner.model, "net_g")
    given = net.forward
    data.lq.requires_grad_()  # else there is nothing to run again
    runner.train()
    assert len(calls) == 2
    assert net.forward is given  # what it had of its own is put back
    assert runner.message_hub.get_scalar("train/firing_rate").current() == pooled(
        activity(Named("lif", LIFNode()), data.lq.detach())
    )


def untouched(net):
    hooked = [name for name, module in net.named_modules() if module._forward_hooks]
    return not hooked and "forward" not in vars(net)


def test_nothing_is_left_on_the_network_after_training(tmp_path):
    net: Any = Named("lif", LIFNode())
    make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(2)).train()
    assert untouched(net)


def test_nothing_is_left_on_the_network_when_a_step_fails(tmp_path):
    net: Any = Named("lif", LIFNode())
    seen = []

    def fail(*_):
        seen.append(len(net.lif._forward_hooks))
        raise KeyboardInterrupt

    net.conv.register_forward_pre_hook(fail)
    runner = make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(1))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert seen == [1]  # it was being measured
    assert untouched(net)


def test_what_a_step_left_that_failed_before_the_network_is_gone_when_a_run_begins(tmp_path):
    net: Any = Named("lif", LIFNode())
    runner: Any = make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(1))
    runner.model.data_preprocessor.forward = None  # raises
    with pytest.raises(TypeError):
        runner.train()
    assert not untouched(net)
    runner.call_hook("before_run")  # EMAHook copies the network here
    assert untouched(net)


def test_a_network_without_spiking_neurons_gets_one_warning_and_no_scalar(tmp_path):
    net = nn.Conv2d(3, 3, 1)
    runner = make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(2))
    runner.train()
    assert log(runner).count("has no spiking neurons") == 1
    assert not [key for line in scalars(runner) for key in line if "firing" in key]


@pytest.mark.parametrize("iters", [1, 3])
def test_a_training_that_goes_round_the_network_gets_one_warning(tmp_path, monkeypatch, iters):
    net, hook = Named("lif", LIFNode()), FiringRateHook(interval=1)
    runner = make_runner(tmp_path, net, hook, train=Images(3), iters=iters)
    runner.model.forward = lambda **_: {"loss": net.conv.weight.sum()}
    warnings = []
    monkeypatch.setattr(runner.logger, "warning", warnings.append)
    runner.train()
    assert warnings == ["FiringRateHook: training does not call the network as a module"]
    assert untouched(net)


def test_the_network_is_found_inside_a_wrapped_model(tmp_path):
    net: Any = Named("lif", LIFNode())
    runner = make_runner(tmp_path, net, FiringRateHook(interval=1), train=Images(1), iters=1)
    wrapped = nn.DataParallel(runner.model)
    wrapped.train_step = runner.model.train_step
    runner.model = wrapped
    runner.train()
    assert "firing_rate" in scalars(runner)[0]


def firing_lines(runner):
    return [line.split(" - ", 2)[2] for line in log(runner).splitlines() if "Firing in" in line]


def test_all_images_of_a_validation_count_and_nothing_else(tmp_path):
    net, data = live("ESDNet"), Images(3)
    counts = [activity(net, data.lq[i : i + 1], train=False) for i in range(3)]
    expected = {
        name: sum(c[name][0] for c in counts) / sum(c[name][1] for c in counts)
        for name in counts[0]
    }
    assert len({pooled(c) for c in counts}) == 3
    hook = FiringRateHook(per_layer=True)
    runner = make_runner(tmp_path, net, EnergyHook(), hook, val=data)
    runner._val_evaluator = [RunsTheNetwork(net)]
    runner.val()
    (shown,) = [line for line in scalars(runner) if "val/firing/rate" in line]
    assert {f"val/firing/layer/{name}": rate for name, rate in expected.items()} == {
        key: value for key, value in shown.items() if "/layer/" in key
    }
    whole = {
        name: tuple(map(sum, zip(*(c[name] for c in counts), strict=True))) for name in expected
    }
    assert (shown["val/firing/rate"], shown["val/firing/dead"]) == (pooled(whole), 0)
    rates = sorted(100 * rate for rate in expected.values())
    assert firing_lines(runner) == [
        f"INFO - Firing in val: 19 spiking layers fire at {rates[0]:.3g} to {rates[-1]:.3g} %, "
        f"median {rates[9]:.3g} %"
    ]
    assert untouched(net)
    assert not runner.model._forward_hooks
    assert not runner.model._forward_pre_hooks


def test_dead_and_saturated_layers_are_warned_of_in_a_test(tmp_path):
    net = without(live("ESDNet"), "down1.neuron")
    net.get_submodule("up1.neuron").register_forward_hook(lambda _, __, out: torch.ones_like(out))
    runner = make_runner(tmp_path, net, FiringRateHook(), test=Images(2))
    runner.test()
    _, dead, saturated = firing_lines(runner)
    assert dead == (
        "WARNING - Firing in test: 1 of 19 spiking layers is dead (below 0.1 % of updates with a "
        "spike): down1.neuron 0 %"
    )
    assert saturated.endswith("1 of 19 spiking layers is saturated (above 90 %): up1.neuron 100 %")
    (shown,) = scalars(runner)
    assert (shown["test/firing/dead"], shown["test/firing/saturated"]) == (1, 1)
    assert not [key for key in shown if "layer" in key]  # layers only on demand


def test_the_images_of_all_processes_count_and_one_of_them_reports(tmp_path, monkeypatch):
    net: Any = Named("lif", LIFNode())
    other = {"lif": (0, 10**9)}
    monkeypatch.setattr(
        "vlif_plugin.mmengine_host.hooks.firing_rate.gather_counts",
        lambda counts: sum_counts([counts, other]),
    )
    runner = make_runner(tmp_path / "main", net, FiringRateHook(), test=Images(1))
    runner.test()
    assert "1 of 1 spiking layer is dead" in log(runner)
    with monkeypatch.context() as patch:
        as_other_process(patch)
        runner = make_runner(tmp_path / "other", net, FiringRateHook(), test=Images(1))
        runner.test()
    assert not list((tmp_path / "other").rglob("scalars.json"))


def test_a_network_without_spiking_neurons_is_validated_in_silence(tmp_path):
    runner = make_runner(tmp_path, nn.Conv2d(3, 3, 1), FiringRateHook(), val=Images(1))
    runner.val()
    assert not firing_lines(runner)


def test_nothing_is_left_after_a_validation_that_fails(tmp_path):
    net: Any = Named("lif", LIFNode())
    runner = make_runner(tmp_path, net, FiringRateHook(), val=Images(1))
    net.conv.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.val()
    assert not net.lif._forward_hooks  # it is not counted any longer
    runner.call_hook("before_run")
    assert not runner.model._forward_hooks
    assert not runner.model._forward_pre_hooks


# energy


def test_a_validation_is_counted_and_written_as_the_command_writes_it(tmp_path):
    from vlif_plugin.cli.energy import write_files

    net, data = live(), Images(2)
    runner = make_runner(tmp_path, net, EnergyHook(costs="45nm"), val=data)
    runner.val()
    report, costs = count_ops(net, data.lq[0]), costs_of("45nm")
    assert report.sops > 1000
    meter = EnergyMeter(costs)
    meter.add(report)
    write_files(tmp_path / "command", report, meter, costs, ["000"])
    written = Path(runner.log_dir) / "energy_0.json"
    assert written.read_bytes() == (tmp_path / "command" / "energy.json").read_bytes()


def test_a_test_is_counted_logged_and_shown(tmp_path):
    net, data = live("ESDNet"), Images(2)
    runner = make_runner(tmp_path, net, EnergyHook(interval=5), test=data)
    runner.test()
    report = count_ops(net, data.lq[0])
    uj = report.energy_uj(costs_of("paper"))["total"]
    assert files(runner, "*.json") == sorted(["energy.json", f"{runner.timestamp}.json"])
    (line,) = [line for line in log(runner).splitlines() if "Energy of" in line]
    assert line.endswith(
        f"Energy of ESDNet on 40x24 of 000: {uj:.4g} uJ, {report.macs:,} MACs, "
        f"{report.sops:,} SOPs, firing rate {report.firing_rate:.4f}"
    )
    (shown,) = scalars(runner)
    assert shown == {
        "test/energy_uj": uj,
        "test/macs": report.macs,
        "test/sops": report.sops,
        "test/firing_rate": report.firing_rate,
        "step": 0,
    }


def test_every_interval_th_validation_is_counted_with_its_iteration(tmp_path):
    net, hook = Named("lif", LIFNode()), EnergyHook(interval=2)
    runner = make_runner(tmp_path, net, hook, train=Images(5), val=Images(1), iters=5)
    runner.train()
    assert files(runner, "energy*") == ["energy_2.json", "energy_4.json"]
    shown = [line["step"] for line in scalars(runner) if "val/energy_uj" in line]
    assert shown == [2, 4]


def test_the_weights_counted_are_the_averaged_ones_that_are_validated(tmp_path):
    net, data = live("ESDNet"), Images(2)
    ema = EMAHook(momentum=0.5, update_buffers=True)
    runner = make_runner(
        tmp_path, net, EnergyHook(), ema, train=data, val=data, iters=2, every=2, lr=0.5
    )
    runner.train()
    average = count_ops(ema.ema_model.module.net_g, data.lq[0])
    (shown,) = [line for line in scalars(runner) if "val/sops" in line]
    assert shown["val/sops"] == average.sops
    assert count_ops(net, data.lq[0]).sops != average.sops


@pytest.mark.parametrize(("size", "counted"), [(16, [16, 16]), (32, [24, 32]), (None, [24, 40])])
def test_the_middle_of_the_image_is_counted(tmp_path, size, counted):
    net, data = Named("lif", LIFNode()), Images(1)
    runner = make_runner(tmp_path, net, EnergyHook(size=size), test=data)
    runner.test()
    record = json.loads((Path(runner.log_dir) / "energy.json").read_text())
    assert record["size"] == counted
    expected = count_ops(net, centre(data.lq[0], size))
    assert record["full"]["totals"]["events"]["mean"] == expected.events > 0


def test_the_datasets_first_image_is_counted_wherever_it_comes(tmp_path):
    images = Images(3, order=[2, 1, 0])
    net: Any = Named("lif", LIFNode())
    runner = make_runner(tmp_path, net, EnergyHook(), test=DataLoader(images, batch_size=3))
    runner.test()
    record = json.loads((Path(runner.log_dir) / "energy.json").read_text())
    assert record["names"] == ["000"]
    assert record["full"]["images"] == 1
    expected = count_ops(net, images.lq[0])
    assert record["full"]["totals"]["events"]["mean"] == expected.events


def test_a_first_image_that_does_not_come_by_is_said_to_be_missing(tmp_path):
    net, hook, data = Named("lif", LIFNode()), EnergyHook(), Images(3, order=[1, 2])
    make_runner(tmp_path / "before", net, hook, test=Images(1)).test()
    runner = make_runner(tmp_path / "now", net, hook, test=data)
    runner.test()
    assert "the first image did not come by" in log(runner)
    assert not files(runner, "energy*")


def test_a_count_leaves_the_network_as_it_was(tmp_path):
    net, data, hook = live("ESDNet"), Images(1), EnergyHook()
    runner = make_runner(tmp_path, net, hook, test=data)
    net.train()
    frozen = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    next(net.parameters()).requires_grad_(False)
    state = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    wanted = [parameter.requires_grad for parameter in net.parameters()]
    hook.before_test_epoch(runner)
    metainfo = {"index": 0, "lq_path": "0.png"}
    hook.after_test_iter(runner, 0, outputs=[BaseDataElement(metainfo=metainfo, lq=data.lq[0])])
    hook.after_test_epoch(runner)
    assert files(runner, "energy*") == ["energy.json"]
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == wanted
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_another_process_counts_nothing(tmp_path, monkeypatch):
    net: Any = Named("lif", LIFNode())
    runner = make_runner(tmp_path, net, EnergyHook(), test=Images(1))
    as_other_process(monkeypatch)
    runner.test()
    assert not files(runner, "energy*")


# pictures


def test_a_picture_shows_degraded_restored_and_ground_truth_of_the_first_images(tmp_path):
    data = Images(3)
    runner: Any = make_runner(
        tmp_path, Scale(), PictureHook(count=2), train=Images(2), val=data, every=2
    )
    runner.model.register_parameter("anything", nn.Parameter(torch.zeros(1)))
    forward = runner.model.forward
    runner.model.forward = lambda **data: (
        {"loss": runner.model.anything.sum()} if data["mode"] == "loss" else forward(**data)
    )
    runner.train()
    assert files(runner, "pictures/**/*.*") == [
        "pictures/rain/000_2.png",
        "pictures/rain/001_2.png",
    ]
    written = read(runner, "pictures/rain/001_2.png")
    lq, gt = data.lq[1], data.lq[1].flip(-1)
    assert np.array_equal(written, picture(lq, lq * 1.5 - 0.25, gt))


def test_a_picture_without_ground_truth_has_two_parts(tmp_path):
    data = Images(1, gt=False)
    runner = make_runner(tmp_path, Scale(), PictureHook(), val=data)
    runner.val()
    written = read(runner, "pictures/rain/000_0.png")
    assert np.array_equal(written, picture(data.lq[0], data.lq[0] * 1.5 - 0.25))


def test_the_visualizer_gets_the_same_picture(tmp_path):
    runner = make_runner(tmp_path, Scale(), PictureHook(count=1), val=Images(2, name="a/b"))
    runner.val()
    assert files(runner, "vis_data/vis_image/*") == ["vis_data/vis_image/a_b_000_0.png"]
    shown = read(runner, "vis_data/vis_image/a_b_000_0.png")
    assert np.array_equal(shown, read(runner, "pictures/a/b/000_0.png"))


def test_a_test_writes_every_result_when_asked_to(tmp_path):
    data = Images(4, names=["x/0.jpg", "0.5_key", "/y/2.png", "/val.lmdb/a/2"])
    runner = make_runner(tmp_path, Scale(), PictureHook(count=0, save_all=True), test=data)
    runner.test()
    names = ["0", "0.5_key", "2", "a_2"]
    assert files(runner, "results/**/*.*") == sorted(f"results/rain/{n}.png" for n in names)
    assert not files(runner, "pictures/**/*.*")
    for name, lq in zip(names, data.lq, strict=True):
        written = read(runner, f"results/rain/{name}.png")
        assert np.array_equal(written, picture(lq * 1.5 - 0.25))


def test_results_are_written_of_tests_alone_and_only_when_asked_to(tmp_path):
    runner = make_runner(tmp_path / "a", Scale(), PictureHook(save_all=True), val=Images(1))
    runner.val()
    assert not files(runner, "results")
    runner = make_runner(tmp_path / "b", Scale(), PictureHook(), test=Images(1))
    runner.test()
    assert not files(runner, "results")
    assert files(runner, "pictures/*/*") == ["pictures/rain/000_0.png"]


def test_another_process_writes_its_own_images(tmp_path, monkeypatch):
    data = Images(4, order=[1, 3])
    hook = PictureHook(count=2, save_all=True)
    runner = make_runner(tmp_path, Scale(), hook, test=data)
    as_other_process(monkeypatch)
    runner.test()
    assert files(runner, "pictures/*/*") == ["pictures/rain/001_0.png"]
    assert files(runner, "results/*/*") == ["results/rain/001.png", "results/rain/003.png"]


def test_a_test_builds_no_training_that_it_does_not_need(tmp_path):
    hooks = (EnergyHook(), PictureHook(), FiringRateHook())
    runner = make_runner(
        tmp_path, Named("lif", LIFNode()), *hooks, train=Images(1), val=Images(1), test=Images(1)
    )
    runner.val()
    runner.test()
    assert files(runner, "energy*") == ["energy.json", "energy_0.json"]
    assert not isinstance(runner._train_loop, BaseLoop)
