"""The studies are fair: files of one differ in their networks only, and these are of one size."""

import re
from pathlib import Path

import pytest
import torch

from vlif_plugin.archs import build_network
from vlif_plugin.basicsr_host import register_all
from vlif_plugin.comparison.request import read_request
from vlif_plugin.energy import costs_of, count_ops
from vlif_plugin.option_files import read_forced, read_option_file
from vlif_plugin.shipped import weights_path

OPTIONS = Path(__file__).parents[2] / "options"
# the file that compares, the number of networks, their multiplications, and how near they come to it
STUDIES = {
    "compare": ("small_budget.yml", 6, 2.8e9, 0.03),
    "tiny": ("compare.yml", 7, 0.31e9, 0.05),
}
OF_ONE_ENERGY = "train_nafnet_energy"  # with VLIFNetTiny, and so smaller
OF_A_THIRD = "train_nafnet_small"
TRAINED = {study: sorted((OPTIONS / study).glob("train_*.yml")) for study in STUDIES}
FILES = [
    pytest.param(study, path, id=f"{study}-{path.stem}")
    for study, paths in TRAINED.items()
    for path in paths
]


def compared(study):
    return read_option_file(OPTIONS / study / STUDIES[study][0])


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_trains_every_file_and_nothing_else(study):
    networks = compared(study)["networks"].values()
    shipped = ["derain"] if study == "tiny" else []
    assert [e["weights"] for e in networks if e["weights"] != "trained"] == shipped
    assert sorted(entry["opt"] for entry in networks) == [
        f"options/{study}/{path.name}" for path in TRAINED[study]
    ]
    assert len(TRAINED[study]) == STUDIES[study][1]


@pytest.mark.parametrize(("study", "path"), FILES)
def test_all_are_trained_alike(study, path):
    opt, other = read_option_file(path), read_option_file(TRAINED[study][0])
    assert opt.pop("name") == f"{study}_{path.stem.removeprefix('train_')}"
    for options in (opt, other):
        options.pop("network_g")
        options.pop("name", None)
    assert opt == other


@pytest.mark.parametrize(("study", "path"), FILES)
@pytest.mark.parametrize("side", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_all_are_of_one_size_and_the_heads_say_so(study, path, side):
    net = build_network(read_option_file(path)["network_g"])
    image = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
    report = count_ops(net, image)
    macs = report.dense_macs * (256 / side) ** 2  # but for attention's pooled layers
    _, _, budget, near = STUDIES[study]
    if path.stem == OF_ONE_ENERGY:
        card = weights_path("derain").with_suffix(".md").read_text()
        row = "the same, mean of eight test photographs in heavy rain, uJ | "
        energy = float(card.partition(row)[2].split()[0])
        budget = energy * 1e6 / costs_of("45nm").mac_pj
    elif path.stem == OF_A_THIRD:
        budget, near = budget / 3, 0.1
    assert abs(macs / budget - 1) < near
    head = " ".join(path.read_text().partition("\nname:")[0].replace("\n#", " ").split())
    stated = re.search(r"([\d.]+) G multiplications .* ([\d.]+) M parameters", head)
    assert stated
    assert float(stated[1]) == pytest.approx(macs / 1e9, rel=2e-4 if side == 256 else 5e-3)
    assert float(stated[2]) == pytest.approx(report.parameters / 1e6, rel=1e-3)


@pytest.mark.parametrize("study", STUDIES)
def test_the_test_sets_are_not_the_training_s(study):
    trained = read_option_file(TRAINED[study][0])["datasets"]
    tested = compared(study)["datasets"].values()
    validated = [section for name, section in trained.items() if name.startswith("val")]
    roots = {"dataroot_gt", "dataroot_streaks", "dataroot_streaks_gt"}
    used = {trained["train"][key] for key in roots}
    assert not used & {dataset.get(key) for dataset in [*tested, *validated] for key in roots}


def test_the_tiny_network_is_chosen_by_other_images_than_it_is_tested_on():
    trained = read_option_file(OPTIONS / "tiny" / "train_vlif.yml")["datasets"]
    roots = {"dataroot_lq", "dataroot_gt", "dataroot_streaks", "dataroot_streaks_gt"}
    chosen = {s.get(k) for n, s in trained.items() if n.startswith("val") for k in roots} - {None}
    assert not chosen & {s.get(k) for s in compared("tiny")["datasets"].values() for k in roots}


def test_the_table_of_the_tiny_networks_is_the_folder_s():
    text = (OPTIONS / "tiny" / "README.md").read_text()
    rows = re.findall(r"\| `(train_\w+\.yml)` \|.*\| ([\d,]+) \|", text)
    assert sorted(name for name, _ in rows) == [path.name for path in TRAINED["tiny"]]
    for name, parameters in rows:
        net = build_network(read_option_file(OPTIONS / "tiny" / name)["network_g"])
        assert sum(p.numel() for p in net.parameters()) == int(parameters.replace(",", ""))


ABLATIONS = {
    "neurons": ["lif", "ilif", "vlif_c", "vlif_t", "hybrid"],
    "parts": [0, 1, 2, 3, 4],
    "steps": [(t, d) for t in (1, 2, 4) for d in (1, 2, 4)],
}
PARTS = ("use_temporal_embedding", "use_sdem", "use_smu", "use_refinement")  # in the paper's order


def varied(table, network):
    """What a table of the paper varies."""
    if table == "neurons":
        return network["neuron"]
    if table == "steps":
        return network["T"], network["D"]
    return [network[part] for part in PARTS].index(False) if not network[PARTS[-1]] else 4


@pytest.fixture
def ablations(monkeypatch):
    """The rows of each table."""
    monkeypatch.chdir(OPTIONS.parent)
    register_all()
    return {table: read_request(f"options/ablations/{table}.yml").networks for table in ABLATIONS}


@pytest.mark.parametrize("table", ABLATIONS)
def test_ablations_vary_what_the_table_does_and_nothing_else_with_two_seeds(table, ablations):
    base = read_option_file("options/ablations/train_vlif.yml")
    seen = []
    for row in ablations[table]:
        assert row.opt == "options/ablations/train_vlif.yml"
        opt = read_forced(row.opt, row.force)
        assert row.run_folder == Path.cwd() / "experiments" / opt["name"]
        assert row.name == f"{row.seeds_of}, seed {opt['manual_seed']}"
        seen.append((varied(table, opt["network_g"]), opt["manual_seed"]))
        if table == "parts":  # a part comes after those before it
            parts = [opt["network_g"][part] for part in PARTS]
            assert parts == sorted(parts, reverse=True)
        free = {"neurons": ("neuron",), "parts": PARTS, "steps": ("T", "D")}[table]
        network = {key: value for key, value in opt.pop("network_g").items() if key not in free}
        assert network.items() <= base["network_g"].items()
        assert {k: v for k, v in opt.items() if k not in ("name", "manual_seed")} == {
            k: v for k, v in base.items() if k not in ("name", "manual_seed", "network_g")
        }
    expected = [(variant, seed) for seed in (1234, 2) for variant in ABLATIONS[table]]
    assert sorted(seen, key=str) == sorted(expected, key=str)


def test_equal_rows_of_ablations_are_one_run_and_different_ones_two(ablations):
    runs = {}
    for row in (row for rows in ablations.values() for row in rows):
        opt = read_forced(row.opt, row.force)
        runs.setdefault(row.run_folder, []).append((opt["network_g"], opt["manual_seed"]))
    assert all(run == same[0] for same in runs.values() for run in same)
    trained = [same[0] for same in runs.values()]
    assert all(trained.count(run) == 1 for run in trained)
    assert len(trained) == 34


def test_the_ablated_network_has_the_size_that_the_paper_gives():
    net = build_network(read_option_file(OPTIONS / "ablations" / "train_vlif.yml")["network_g"])
    report = count_ops(net, torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert report.dense_macs * 16 == pytest.approx(2.7938e9, rel=0.03)
    assert report.parameters == pytest.approx(0.088e6, rel=0.1)
