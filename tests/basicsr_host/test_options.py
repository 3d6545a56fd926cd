"""Wrong input: one clear line, exit status 1, and nothing on the disk has changed."""

import re

import cv2
import pytest
import torch
from helpers import TINY_NET, Malicious, photograph, small_options, write_options

from vlif_plugin.archs import VLIFNet
from vlif_plugin.basicsr_host import run
from vlif_plugin.basicsr_host.preflight import _check_batch
from vlif_plugin.errors import OptionError
from vlif_plugin.option_files import read_option_file


def put(opt, path, value):
    *sections, last = path.split(":")
    for section in sections:
        opt = opt[section]
    opt[last] = value


WRONG = {
    "misspelt key": ({"train:total_itre": 3}, r"train has no option 'total_itre'; did you mean total_iter"),
    "misspelt top key": ({"dataset": {}}, r"no option 'dataset'; did you mean datasets"),
    "misspelt arch": ({"network_g:type": "VLIFnet"}, r"no arch is called 'VLIFnet'; did you mean VLIFNet"),
    "misspelt arch option": ({"network_g:formulaton": "paper"}, r"'formulaton'; did you mean formulation"),
    "misspelt loss": ({"train:pixel_opt:type": "SSIMloss"}, r"no loss is called 'SSIMloss'; did you mean SSIMLoss"),
    "misspelt loss option": ({"train:pixel_opt:sigmaa": 2}, r"SSIMLoss has no option 'sigmaa'; did you mean sigma"),
    "misspelt model": ({"model_type": "SNNRestorationMode"}, r"did you mean SNNRestorationModel"),
    "misspelt dataset": ({"datasets:val:type": "PairedRainData"}, r"did you mean PairedRainDataset"),
    "misspelt dataset option": ({"datasets:train:gtsize": 3}, r"datasets: train: .*'gtsize'; did you mean gt_size"),
    "misspelt metric": ({"val:metrics:psnr_y:type": "calculate_pnsr"}, r"did you mean calculate_psnr"),
    "misspelt metric option": (
        {"val:metrics:psnr_y:test_y_chanel": True}, r"'test_y_chanel'; did you mean test_y_channel",
    ),
    "misspelt optimiser": ({"train:optim_g:type": "AdamWW"}, r"no optimiser is called 'AdamWW'; did you mean"),
    "misspelt optimiser option": ({"train:optim_g:weigth_decay": 1}, r"'weigth_decay'; did you mean weight_decay"),
    "misspelt option of timm's": (
        {"train:optim_g": {"type": "cadamw", "lr": 1e-3, "weigth_decay": 1}},
        r"optim_g: \w+ has no option 'weigth_decay'; did you mean weight_decay",
    ),
    "optimiser without a rate": (
        {"train:optim_g": {"type": "adafactor"}},
        "train: optim_g: the key 'lr' is missing, and adafactor has no rate of its own",
    ),
    "misspelt schedule": ({"train:scheduler:type": "CosineRestartLR"}, "no schedule is called 'CosineRestartLR'"),
    "misspelt schedule option": ({"train:scheduler:etamin": 0}, "'etamin'; did you mean eta_min"),
    "short schedule": ({"train:scheduler:periods": [2]}, "periods add up to 2, but total_iter is 4"),
    "bad value for the network": ({"network_g:dim": -4}, "network_g: dim must be a whole number"),
    "bad number": ({"train:total_iter": "many"}, "total_iter must be a whole number"),
    "bad backend": ({"backend": "cupy"}, "backend must be one of auto, torch, compile, triton, got 'cupy'"),
    "bad amp": ({"train:amp": "fp8"}, "amp must be bf16, fp16 or false"),
    "bad tile": ({"val:tile": "huge"}, "val: tile must be none, auto"),
    "bad save_best": ({"val:save_best": "ssim"}, "save_best names 'ssim'"),
    "no gpu": ({"num_gpu": 64}, r"num_gpu is 64, but \d+ CUDA devices are visible; .*num_gpu=0"),
    "unhashable type": ({"network_g:type": ["VLIFNet"]}, "network_g: type must be a name"),
    "list for a section": ({"datasets": [1]}, "datasets must be a section"),
    "number for a path": ({"path:experiments_root": 3}, "experiments_root must be a path"),
    "clipping to nothing": ({"train:grad_clip": -1}, "grad_clip must be a number above 0"),
    "exploding average": ({"train:ema_decay": 1.5}, "ema_decay must be a number from 0 to below 1"),
    "misspelt protocol": ({"val:protocols": ["y", "y_restomer"]}, "'y_restomer'; did you mean y_restormer"),
    "protocol without a list": ({"val:protocols": "y"}, "val: protocols must be all or a list of names, got 'y'"),
    "protocol that is no name": ({"val:protocols": [["y"]]}, "val: protocols must be all or a list of names"),
    "protocols of a stock model": (
        {"model_type": "SRModel", "val:protocols": "all"}, "val: protocols is understood by SNNRestorationModel only",
    ),
    "better than higher": ({"val:metrics:psnr_y:better": "Higher"}, "better must be higher or lower"),
    "equal names": ({"datasets:val:name": "rain"}, "two sections are named 'rain'"),
    "name of a parent": ({"name": ".."}, "a plain word"),
    "no such section": ({"datasets:vall": {"name": "x", "type": "PairedRainDataset"}}, "vall is none of train, val"),
    "even window": ({"train:pixel_opt:window_size": 10}, "window_size must be an odd"),
    "negative sigma": ({"train:pixel_opt:sigma": -1}, "sigma must be a number above 0"),
    "four channels": ({"network_g:inp_channels": 4, "network_g:out_channels": 4}, "network_g: RuntimeError"),
    "another size": (
        {"network_g": {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "upscale": 2}},
        "makes .*64, 64.* of an image of shape .*32, 32",
    ),
    "stock dataset without scale": ({"datasets:val:type": "PairedImageDataset"}, "datasets: val: KeyError"),
    "metric that fails": ({"val:metrics:psnr_y:crop_border": None}, "val: metrics: psnr_y: TypeError"),
    "metric that is no number": ({"val:metrics:psnr_y:crop_border": 100}, "psnr_y is not a number"),
    "schedule without periods": ({"train:scheduler:periods": None}, "periods must be a list of numbers"),
    "two periods with one weight": ({"train:scheduler:periods": [9, 9]}, "same length"),
    "workers": ({"datasets:train:num_worker_per_gpu": -1}, "num_worker_per_gpu must be a whole number"),
    "prefetching without a gpu": ({"datasets:train:prefetch_mode": "cuda"}, "needs a GPU"),
    "no section": ({"train:pixel_opt": "SSIMLoss"}, "pixel_opt must be a section"),
    "metric without a section": ({"val:metrics:psnr_y": None}, "psnr_y must be a section with a type"),
    "bad decay": ({"train:ema_decay": "0.9x"}, "ema_decay must be a number"),
    "bad periods": ({"train:scheduler:periods": ["a"]}, "periods must be a list of numbers"),
    "progressive without a section": ({"train:progressive": [1, 2]}, "train: progressive must be a section"),
    "misspelt stage": (
        {"train:progressive": {"iters": [9], "batch_sizes": [1], "gt_size": [8]}},
        "train: progressive: Progressive has no option 'gt_size'; did you mean gt_sizes",
    ),
    "stages of two lengths": (
        {"train:progressive": {"iters": [4, 5], "batch_sizes": [1, 1], "gt_sizes": [8]}},
        "train: progressive: each stage needs one of each, got 2 iters, 2 batch_sizes, 1 gt_sizes",
    ),
    "stage larger than the patch": (
        {"train:progressive": {"iters": [9], "batch_sizes": [2], "gt_sizes": [64]}},
        "train: progressive: gt_sizes has 64, but datasets: train: gt_size is 32",
    ),
    "stage larger than the batch": (
        {"train:progressive": {"iters": [9], "batch_sizes": [3], "gt_sizes": [8]}},
        "train: progressive: batch_sizes has 3, but datasets: train: batch_size_per_gpu is 2",
    ),
    "short stages": (
        {"train:progressive": {"iters": [1, 2], "batch_sizes": [1, 1], "gt_sizes": [8, 8]}},
        "train: progressive: iters add up to 3, but total_iter is 4",
    ),
    "two periods with one lowest rate": (
        {"train:scheduler": {
            "type": "CosineAnnealingRestartCyclicLR", "periods": [9, 9], "restart_weights": [1, 1],
        }},
        "must be of one length, not 2, 2 and 1",
    ),
    "lowest rate without a list": (
        {"train:scheduler": {"type": "CosineAnnealingRestartCyclicLR", "periods": [9], "eta_mins": 0}},
        "eta_mins must be a list of numbers, got 0",
    ),
    "steps without milestones": (
        {"train:scheduler": {"type": "MultiStepLR", "gamma": 0.5}},
        "train: scheduler: milestones must be a list of numbers, got None",
    ),
    "missing frequency": ({"logger:print_freq": None}, "logger: the key 'print_freq' is missing"),
    "no loss": ({"train:pixel_opt": None}, "needs a loss"),
    "missing section": ({"network_g": None}, "'network_g' is missing"),
    "missing key": ({"datasets:train:gt_size": None}, "datasets: train: the key 'gt_size' is missing"),
    "batch larger than the data": ({"datasets:train:dataset_enlarge_ratio": 0.25}, "set dataset_enlarge_ratio to"),
    "patch larger than the images": ({"datasets:train:gt_size": 64}, "4 images smaller than the patch of 64"),
    "missing folder": ({"datasets:val:dataroot_lq": "gone"}, "datasets: val: gone: no such folder"),
    "missing lmdb": ({"datasets:val:dataroot_gt": "gone.lmdb"}, "gone.lmdb: no LMDB there"),
    "a network to begin anew with that is no list": (
        {"path:ignore_resume_networks": "network_g"},
        "path: ignore_resume_networks must be a list, got 'network_g'",
    ),
    "missing weights": ({"path:pretrain_network_g": "gone.pth"}, "gone.pth: no such weights file"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("devices", "images", "needed"),
    [
        ({"dist": False, "world_size": 1, "num_gpu": 0}, 2, 1),
        # one batch of 16, which DataParallel cuts
        ({"dist": False, "world_size": 1, "num_gpu": 8}, 15, 2),
        ({"dist": True, "world_size": 8, "num_gpu": 8}, 15, 2),
        ({"dist": True, "world_size": 2, "num_gpu": 8}, 1, 4),
    ],
)
def test_a_batch_for_all_devices_must_be_filled(devices, images, needed):
    section = {"batch_size_per_gpu": 2, "dataset_enlarge_ratio": needed}
    _check_batch(section, images, devices)
    if needed > 1:
        section["dataset_enlarge_ratio"] = needed - 1
        with pytest.raises(OptionError, match=f"set dataset_enlarge_ratio to {needed} or more"):
            _check_batch(section, images, devices)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_give_one_clear_line_and_leave_no_trace(case, fresh_basicsr, capsys):
    changes, message = WRONG[case]
    opt = small_options(fresh_basicsr)
    for path, value in changes.items():
        put(opt, path, value)
    if "vall" in opt["datasets"]:
        opt["datasets"]["vall"] |= {"dataroot_lq": opt["datasets"]["val"]["dataroot_lq"]}
    options = write_options(fresh_basicsr, opt)
    (fresh_basicsr / "experiments" / "small").mkdir(parents=True)
    before = sorted(fresh_basicsr.rglob("*"))
    assert run.train(["-opt", options]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert re.search(message, error), error
    assert sorted(fresh_basicsr.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no readable option file"),
        ("train: [1", "not valid YAML"),
        ("- a\n- b\n", "mapping of keys"),
        ("a: 1\nb: 2\na: 3\n", "a stands twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_bad_option_files_are_named(text, message, tmp_path):
    path = tmp_path / "opt.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_option_file(path)
    assert "opt.yml" in str(caught.value)


def test_numbers_with_exponents_are_numbers(tmp_path):
    (tmp_path / "a.yml").write_text("lr: 1e-4\ntagged: !!float 1e-4\nname: v1e\nbig: 3E5\n")
    assert read_option_file(tmp_path / "a.yml") == {
        "lr": 1e-4,
        "tagged": 1e-4,
        "name": "v1e",
        "big": 3e5,
    }


def test_images_that_do_not_pair_are_named(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    for side, count in (("lq", 8), ("gt", 1)):
        folder = fresh_basicsr / side
        folder.mkdir()
        for index in range(count):
            cv2.imwrite(str(folder / f"rain-{index}.png"), photograph(40, 40))
        opt["datasets"]["train"][f"dataroot_{side}"] = str(folder)
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    error = capsys.readouterr().err
    assert "datasets: train: 7 of 8 images" in error
    assert "rain-5.png and 2 more" in error


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dim": 16}, "the file has dim 16; the network has dim 8"),
        ({"T": 4}, "the file has T 4; the network has T 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_moved(
    other, message, fresh_basicsr, capsys
):
    opt = small_options(fresh_basicsr)
    arguments = {k: v for k, v in (TINY_NET | other).items() if k != "type"}
    torch.save({"params": VLIFNet(**arguments).state_dict()}, fresh_basicsr / "w.pth")
    opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "w.pth")
    (fresh_basicsr / "experiments" / "small").mkdir(parents=True)
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    assert message in capsys.readouterr().err
    assert not list((fresh_basicsr / "experiments").glob("small_archived*"))


def test_a_malicious_checkpoint_is_refused_and_not_run(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    torch.save({"params": Malicious()}, fresh_basicsr / "w.pth")
    opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "w.pth")
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    captured = capsys.readouterr()
    assert "w.pth: refused" in captured.err
    assert "this ran" not in captured.out


def test_testing_scores_tiles_saves_and_needs_no_ground_truth(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    opt["path"] = {"results_root": str(fresh_basicsr / "out")}
    opt["val"] = {"save_img": True, "tile": "official80", "metrics": opt["val"]["metrics"]}
    del opt["train"], opt["logger"]
    assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 1
    assert "pretrain_network_g names no weights to test" in capsys.readouterr().err
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    torch.save({"params": net.state_dict()}, fresh_basicsr / "w.pth")
    opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "w.pth")
    assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 0
    results = fresh_basicsr / "out" / "small"
    assert (results / "rain_val.csv").read_text().startswith("image,psnr_y\n000,")
    assert cv2.imread(str(results / "visualization" / "rain_val" / "000_small.png")).shape == (
        37,
        51,
        3,
    )

    del opt["datasets"]["test_1"]["dataroot_gt"]
    opt["name"] = "blind"
    assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 1
    assert (
        "psnr_y compares with ground truth, and dataset rain_val has none"
        in capsys.readouterr().err
    )
    opt["val"]["metrics"] = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    opt["datasets"]["test_1"]["dataroot_lq"] = str(large_images(fresh_basicsr))
    assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 0
    assert "image,niqe" in (fresh_basicsr / "out" / "blind" / "rain_val.csv").read_text()


def large_images(folder):
    (folder / "large").mkdir()
    cv2.imwrite(str(folder / "large" / "a.png"), photograph(200, 200))
    return folder / "large"


def test_a_metric_of_the_network_is_given_the_network(fresh_basicsr):
    from basicsr.utils.registry import METRIC_REGISTRY

    def parameters_of(net, lq):
        assert lq.shape[1] == 3
        return sum(p.numel() for p in net.parameters())

    METRIC_REGISTRY._do_register("parameters_of", parameters_of)
    try:
        opt = small_options(fresh_basicsr)
        opt["val"]["metrics"]["size"] = {"type": "parameters_of", "better": "lower"}
        assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    finally:
        del METRIC_REGISTRY._obj_map["parameters_of"]
    rows = (fresh_basicsr / "experiments" / "small" / "validation" / "rain_val_4.csv").read_text()
    count = sum(
        p.numel()
        for p in VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"}).parameters()
    )
    assert f",{float(count)}" in rows


def test_force_yml_overrides_and_is_checked(fresh_basicsr, capsys):
    options = write_options(fresh_basicsr, small_options(fresh_basicsr))
    assert (
        run.train(["-opt", options, "--force_yml", "train:total_iter=2", "name=other", "val=none"])
        == 0
    )
    models = fresh_basicsr / "experiments" / "other" / "models"
    assert {p.name for p in models.iterdir()} == {"net_g_2.pth", "net_g_latest.pth"}
    for wrong, message in (
        ("train:total_iter", "must be section:key=value"),
        ("trian:total_iter=3", "must be section:key=value"),
        ("train:totl_iter=3", "'totl_iter'; did you mean total_iter"),
        ("train:total_iter=__import__('os')", "total_iter must be a whole number"),
    ):
        assert run.train(["-opt", options, "--force_yml", wrong]) == 1
        assert message in capsys.readouterr().err


def test_debug_is_basicsrs(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["total_iter"] = 8
    assert run.train(["-opt", write_options(fresh_basicsr, opt), "--debug"]) == 0
    assert (fresh_basicsr / "experiments" / "debug_small" / "models" / "net_g_8.pth").is_file()


def test_keys_of_ones_own_begin_with_an_underscore(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["_note"] = "mine"
    opt["train"] |= {"_note": "mine too", "total_iter": 2}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
