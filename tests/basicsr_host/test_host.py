"""Registration, mends, and the commands as a user starts them."""

import json
import os
import subprocess
import sys

import pytest
import torch
import warm
from helpers import TINY_NET, make_live, small_options, write_options

from vlif_plugin.archs import ARCHS, build_network
from vlif_plugin.basicsr_host import mends, register_all
from vlif_plugin.errors import OptionError
from vlif_plugin.losses import LOSSES

# what the installed `basicsr` script does
ENTRY = "import sys; from vlif_plugin.basicsr_host.run import basicsr; sys.exit(basicsr())"


def command(folder, *words):
    """As a user begins it: with nothing imported."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=240,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_importing_the_plugin_makes_basicsr_importable(tmp_path):
    """The mend is what does it: without it BasicSR fails on a torchvision without the module."""
    program = (
        "import sys; sys.modules.pop('torchvision.transforms.functional_tensor', None)\n"
        "{}\n"
        "import basicsr; print(basicsr.__name__)"
    )
    healthy = command(tmp_path, "-c", program.format("import vlif_plugin"))
    assert healthy.stdout == "basicsr\n", healthy.stderr
    from importlib.metadata import version

    if version("torchvision") >= "0.17":
        assert "functional_tensor" in command(tmp_path, "-c", program.format("")).stderr


def test_the_alias_steps_aside_where_the_module_exists(tmp_path):
    package = tmp_path / "torchvision" / "transforms"
    package.mkdir(parents=True)
    (tmp_path / "torchvision" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "functional_tensor.py").write_text("mark = 'the real one'\n")
    program = "import vlif_plugin; from torchvision.transforms import functional_tensor as f; print(f.mark)"
    assert command(tmp_path, "-c", program).stdout == "the real one\n"


def test_registration_is_idempotent_and_complete():
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    register_all()
    register_all()
    for name, thing in ARCHS.items():
        assert ARCH_REGISTRY.get(name) is thing
    for name, thing in LOSSES.items():
        assert LOSS_REGISTRY.get(name) is thing


def test_a_name_that_another_package_took_is_an_error_with_both_names(monkeypatch):
    from basicsr.utils.registry import ARCH_REGISTRY

    register_all()
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "VLIFNet", dict)
    with pytest.raises(RuntimeError, match=r"VLIFNet from builtins.*vlif_plugin\.archs"):
        register_all()


def test_unknown_names_are_answered_with_near_ones():
    from basicsr.utils.registry import ARCH_REGISTRY

    register_all()
    with pytest.raises(OptionError, match="did you mean EDSR"):
        ARCH_REGISTRY.get("EDSRR")
    assert ARCH_REGISTRY.get("EDSR").__name__ == "EDSR"


def test_every_mend_is_in_force():
    register_all()
    for owner, attribute, replacement, why in mends.MENDS:
        assert getattr(mends._resolve(owner), attribute) is replacement
        assert why


@pytest.mark.parametrize(
    ("run", "words"),
    [(warm.command, ("-m", "vlif_plugin.train")), (command, ("-c", ENTRY, "train.py"))],
)
def test_commands_start_training(run, words, tmp_path):
    opt = small_options(tmp_path)
    opt["train"]["total_iter"] = 2
    done = run(tmp_path, *words, "-opt", write_options(tmp_path, opt), "--local-rank", "0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "experiments" / "small" / "models" / "net_g_latest.pth").is_file()


def test_the_basicsr_command_explains_itself(tmp_path):
    done = warm.command(tmp_path, "-c", ENTRY, "finetune.py")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: basicsr train.py")


def test_a_broken_picture_in_a_worker_is_reported_in_one_line(tmp_path):
    import cv2
    from helpers import photograph

    opt = small_options(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), photograph(40, 40))
        path = folder / f"{index}.png"
        path.write_bytes(path.read_bytes()[:-80])
    opt["datasets"]["train"] |= {
        "dataroot_lq": str(folder),
        "dataroot_gt": str(folder),
        "num_worker_per_gpu": 1,
    }
    done = warm.command(tmp_path, "-m", "vlif_plugin.train", "-opt", write_options(tmp_path, opt))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert ".png: not a readable image" in errors[0]
    assert "Traceback" not in done.stderr


TWO = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617")


def test_two_processes_on_cpus_train_and_score_exactly_as_one(tmp_path):
    opt = small_options(tmp_path)
    opt["train"] |= {"total_iter": 2, "ema_decay": 0.5}
    # on a network that fires, so that each process's own statistics would show
    net = make_live(build_network(TINY_NET), torch.rand(2, 3, 32, 32))
    torch.save({"params": net.state_dict()}, tmp_path / "live.pth")
    opt["path"]["pretrain_network_g"] = str(tmp_path / "live.pth")
    done = command(tmp_path, *TWO, "-m", "vlif_plugin.train", "-opt", write_options(tmp_path, opt))
    assert done.returncode == 0, done.stderr[-3000:]
    run_folder = tmp_path / "experiments" / "small"
    assert len(list(run_folder.glob("*.log"))) == 1

    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    weights = run_folder / "models" / "net_g_latest.pth"
    opt["path"] = {"pretrain_network_g": str(weights), "param_key_g": "params_ema"}
    del opt["train"], opt["logger"], opt["val"]["val_freq"]
    tables, records = [], []
    for name, processes in (("one", 1), ("two", 2)):
        options = write_options(tmp_path, opt | {"name": name}, f"{name}.yml")
        warm.together(tmp_path, "-m", "vlif_plugin.test", "-opt", options, processes=processes)
        tables.append((tmp_path / "results" / name / "rain_val.csv").read_text())
        records.append(json.loads((tmp_path / "results" / name / "rain_val.json").read_text()))
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 5
    assert records[0] == records[1]
    assert records[0]["images"] == len(records[0]["per_image"]) == 3
    # what the two processes scored while training is what the saved weights give
    assert (run_folder / "validation" / "rain_val_2.csv").read_text() == tables[0]
    trained = json.loads((run_folder / "validation" / "rain_val_2.json").read_text())
    assert {k for k in trained if trained[k] != records[0][k]} == {"iteration", "network"}


def test_a_launcher_without_its_environment_is_refused(tmp_path):
    opt = small_options(tmp_path)
    options = write_options(tmp_path, opt)
    for launcher, message in (
        ("pytorch", "RANK, WORLD_SIZE"),
        ("slurm", "SLURM_PROCID, SLURM_NTASKS"),
    ):
        done = warm.command(
            tmp_path, "-m", "vlif_plugin.train", "-opt", options, "--launcher", launcher
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert not (tmp_path / "experiments").exists()
