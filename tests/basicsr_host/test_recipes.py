"""What published recipes need beyond BasicSR: progressive learning, a schedule, a network of one's own."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm
from basicsr_model import Batch, build_model, read_log
from helpers import small_options, write_options

from vlif_plugin.basicsr_host import run
from vlif_plugin.basicsr_host.progressive import Progressive
from vlif_plugin.basicsr_host.schedules import CosineAnnealingRestartCyclicLR, build_schedule
from vlif_plugin.errors import OptionError

STAGES = {"iters": [2, 1, 3], "batch_sizes": [4, 2, 1], "gt_sizes": [8, 16, 32]}


def test_stages_change_after_their_iterations_and_the_last_one_stays():
    stages = Progressive(**STAGES)
    found = [stages.stage(iteration) for iteration in range(1, 9)]
    assert found == [(4, 8)] * 2 + [(2, 16)] + [(1, 32)] * 5


def test_both_sides_of_a_pair_are_cut_alike_and_from_everywhere():
    lq = torch.arange(4 * 32 * 32).view(4, 1, 32, 32).expand(-1, 3, -1, -1)
    seen, corners = set(), set()
    for _ in range(200):
        kept, x, y = Progressive(**STAGES).cut(3, lq, -lq)
        assert x.shape == (2, 3, 16, 16)
        assert torch.equal(x, -y)
        for index, image in zip(kept, x, strict=True):
            image_index, place = divmod(image[0, 0, 0].item(), 32 * 32)
            assert image_index == index
            top, left = divmod(place, 32)
            assert torch.equal(image, lq[index, :, top : top + 16, left : left + 16])
            corners |= {(top, "top"), (left, "left")}
        assert len(set(kept)) == 2
        seen |= set(kept)
    assert seen == {0, 1, 2, 3}
    assert corners == {(n, side) for n in range(17) for side in ("top", "left")}


def test_a_run_trains_on_what_its_stages_keep(fresh_basicsr, monkeypatch):
    opt = small_options(fresh_basicsr)
    opt["datasets"]["train"]["batch_size_per_gpu"] = 4
    opt["train"] |= {"progressive": STAGES, "total_iter": 6, "accumulate": 2}
    shapes = []
    from vlif_plugin.losses import SSIMLoss

    forward = SSIMLoss.forward
    monkeypatch.setattr(
        SSIMLoss, "forward", lambda *a: shapes.append(tuple(a[1].shape)) or forward(*a)
    )
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    tried = shapes.pop(0)  # before the run; the losses of the run's parts follow
    assert tried == (1, 3, 8, 8)
    assert shapes == [(2, 3, 8, 8)] * 4 + [(1, 3, 16, 16)] * 2 + [(1, 3, 32, 32)] * 3
    log = read_log(fresh_basicsr / "experiments" / "small")
    for count, size, first in ((4, 8, 1), (2, 16, 3), (1, 32, 4)):
        assert log.count(f"Batches of {count} with patches of {size} from iteration {first}.") == 1


def test_errors_name_the_images_that_were_kept(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["datasets"]["train"]["batch_size_per_gpu"] = 4
    opt["train"]["progressive"] = {"iters": [4], "batch_sizes": [1], "gt_sizes": [16]}
    model = build_model(fresh_basicsr, opt)
    model.feed_data(Batch(4))
    model.optimize_parameters(1)
    assert len(model.paths) == 1
    assert model.paths[0] in {f"image{index}" for index in range(4)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iters": 3}, "iters must be a list of whole numbers, got 3"),
        ({"gt_sizes": [8, 16, 0]}, "gt_sizes must be a list of whole numbers"),
        ({"gt_sizes": []}, "gt_sizes must be a list"),
        ({"batch_sizes": "421"}, "batch_sizes must be a list"),
        ({"batch_sizes": [2, 1]}, "got 3 iters, 2 batch_sizes, 3 gt_sizes"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Progressive(**STAGES | changes)


def optimizer(rate):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates(schedule, steps):
    """Those of the iterations 0, 1, ..., ``steps``."""
    found = [schedule.optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        found.append(schedule.optimizer.param_groups[0]["lr"])
    return found


def test_a_first_period_can_be_constant_and_a_cosine_follow():
    options = {
        "type": "CosineAnnealingRestartCyclicLR", "periods": [4, 8], "restart_weights": [1, 1],
        "eta_mins": [3e-4, 1e-6],
    }  # fmt: skip
    found = rates(build_schedule(options, optimizer(3e-4)), 12)
    cosine = [1e-6 + (3e-4 - 1e-6) * (1 + math.cos(math.pi * n / 8)) / 2 for n in range(9)]
    assert found == pytest.approx([3e-4] * 4 + cosine, rel=1e-12)
    assert found[8] == pytest.approx((3e-4 + 1e-6) / 2)
    assert found[12] == pytest.approx(1e-6)


def test_with_equal_lowest_rates_it_is_basicsr_s_schedule():
    shared = {"periods": [3, 5], "restart_weights": [1, 0.5]}
    ours = CosineAnnealingRestartCyclicLR(optimizer(1.0), **shared, eta_mins=[0.1, 0.1])
    theirs = build_schedule(
        {"type": "CosineAnnealingRestartLR", **shared, "eta_min": 0.1}, optimizer(1.0)
    )
    assert rates(ours, 8) == pytest.approx(rates(theirs, 8), rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"milestones": [700, 300, 300, 1500], "gamma": 0.3},
        {
            "milestones": [0, 100, 500, 800, 900, 1700],
            "gamma": 0.7,
            "restarts": [0, 500, 1000],
            "restart_weights": [1, 0.9, 0.45],
        },
        {"milestones": [0, 50, 450], "restarts": [400], "restart_weights": [0.3]},
        {"milestones": []},
    ],
)
def test_steps_with_restarts_are_basicsr_s_to_the_bit(options):
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    ours = build_schedule({"type": "MultiStepLR", **options}, optimizer(3e-4))
    assert rates(ours, 2000) == rates(MultiStepRestartLR(optimizer(3e-4), **options), 2000)


def test_a_warm_up_ends_at_the_rate_of_the_steps(fresh_basicsr):
    """BasicSR's own stays where the warm-up was before its last iteration: at 0.8 of the rate."""
    opt = small_options(fresh_basicsr)
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [8], "gamma": 0.5}
    model = build_model(fresh_basicsr, opt)
    model.optimizer_g.step()
    found = []
    for iteration in range(1, 11):
        model.update_learning_rate(iteration, warmup_iter=5)
        found += model.get_current_learning_rate()
    assert found == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4])


def test_a_run_follows_the_schedule_and_resumes_it_silently(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    opt["train"]["scheduler"] = {
        "type": "CosineAnnealingRestartCyclicLR", "periods": [2, 6], "restart_weights": [1, 1],
        "eta_mins": [1e-3, 1e-5],
    }  # fmt: skip
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    opt["train"]["total_iter"] = 6
    assert run.train(["-opt", write_options(fresh_basicsr, opt), "--auto_resume"]) == 0
    log = read_log(fresh_basicsr / "experiments" / "small")
    assert "the schedule's" not in log
    # iteration 6 is the fifth step, and the third of the second period
    expected = 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * 3 / 6)) / 2
    assert f"lr:({expected:.3e},)" in log


def test_the_readmes_network_is_trained_by_a_script_of_one_s_own(fresh_basicsr):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("## A network of your own\n")[2].partition("\n## ")[0]
    definition, script = (
        section.split("```python\n")[1].split("```\n")[0],
        section.split("```\n")[2],
    )
    opt = small_options(fresh_basicsr)
    opt["network_g"] = {"type": "PlainNet", "channels": 8}
    assert "`network_g: {type: PlainNet, channels: 8}`" in section
    path = write_options(fresh_basicsr, opt, "train_plainnet.yml")
    assert Path(path).name in script
    done = subprocess.run(
        [sys.executable, "-c", definition + script],
        capture_output=True,
        text=True,
        cwd=fresh_basicsr,
    )
    assert done.returncode == 0, done.stderr
    assert "Network: PlainNet, with parameters: 443" in done.stdout + done.stderr
    assert (fresh_basicsr / "experiments" / "small" / "models" / "net_g_4.pth").is_file()
    opt["network_g"]["chanels"] = 8
    write_options(fresh_basicsr, opt, "train_plainnet.yml")
    done = warm.command(fresh_basicsr, "-c", definition + script)
    assert done.returncode == 1
    assert "PlainNet has no option 'chanels'; did you mean channels?" in done.stderr
