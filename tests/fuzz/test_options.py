"""Option files that nobody meant: whatever stands in them, what comes out is a documented error."""

import copy
import random
from pathlib import Path

import pytest
import yaml
from helpers import small_options
from hostile import check_line, fuzzed, mutated, restructured
from hypothesis import given
from hypothesis import strategies as st

from vlif_plugin.errors import OptionError, PluginError
from vlif_plugin.option_files import read_option_file, read_value

OPTIONS = Path(__file__).parents[2] / "options"
TEXTS = [path.read_bytes() for path in sorted(OPTIONS.glob("*.yml"))]
TOKENS = st.sampled_from(
    ["a", "b: ", ": ", "- ", "? ", "&a ", "*a", "<<: ", "!!str ", "!!int ", "!!float ", "!!bool ", "!!set ",
     "!!timestamp ", "!!binary ", "!!python/name:os.system ", "!x ", "{", "}", "[", "]", ",", "\n", "\n  ", "\t",
     "'", '"', "|\n", ">-\n", "#", "---\n", "...\n", "%YAML 1.2\n", "~", "1e5", "0x", "0b1", "1:30", ".nan", "-.inf",
     "2001-99-99", "9" * 60, "=", "\\", "\\x", "\\ud800", "\\0", "\ufeff", "\x00", "\x85", "\u2028", "é", "\U0001f4a3"]
)  # fmt: skip


def plain(value, depth=0):
    """Whether a value is of the types that an option file may hold."""
    assert depth < 60
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return all(plain(v, depth + 1) for v in value)
    return value is None or type(value) in (str, bool, float, int)


@fuzzed("option files: text", 300, 10_000)
@given(
    st.one_of(
        mutated(st.sampled_from(TEXTS)), st.lists(TOKENS, max_size=40).map("".join).map(str.encode)
    )
)
def test_any_text_gives_plain_values_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "opt.yml"
    path.write_bytes(content)
    try:
        opt = read_option_file(path)
    except OptionError as error:
        check_line(error, path)
    else:
        assert plain(opt)
        repr(opt)
        copy.deepcopy(opt)


@fuzzed("option files: values of --force_yml", 150, 5_000)
@given(st.one_of(st.text(max_size=30), st.lists(TOKENS, max_size=8).map("".join)))
def test_any_value_is_plain_or_refused_in_one_line(text):
    try:
        assert plain(read_value(text))
    except OptionError as error:
        check_line(error)


# no numbers that ask for a network of terabytes, which it is the user's to ask for
VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 2, 3, 0.5, -1.5, float("nan"), float("inf"), 1e300, "", " ", "x", "auto", "none",
         "a/b", "../x", ".", "/", "~", "1", "é", "type", "VLIFNet", "PSNRLoss", "psnr", "train", [], {}, [[]],
         [0], [1, 2, 3], [None], ["x"], [-1.0], [float("nan")], {"type": "x"}, {"type": None}, {"a": {"b": []}},
         {"type": ["x"]}, {"name": "x"}]
    ),
    # a line break in a path would stand in the message that names it, until messages are shown without
    st.text(st.characters(exclude_characters="\n"), max_size=8),
).map(copy.deepcopy)  # fmt: skip


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options of a small run that work, with their data."""
    return small_options(tmp_path_factory.mktemp("small"))


@fuzzed("option files: training with BasicSR", 40, 1_000)
@given(data=st.data())
def test_changed_options_of_a_training_are_checked_to_the_end(options, fresh_basicsr, data):
    from vlif_plugin.basicsr_host.options import parse_arguments

    path = fresh_basicsr / "opt.yml"
    path.write_text(yaml.safe_dump(data.draw(restructured(options, VALUES)), allow_unicode=True))
    before, random_before = sorted(p.name for p in fresh_basicsr.iterdir()), random.getstate()
    try:
        parse_arguments(["-opt", str(path)], str(fresh_basicsr), data.draw(st.booleans()))
    except PluginError as error:
        check_line(error)
    finally:
        random.setstate(random_before)
    assert sorted(p.name for p in fresh_basicsr.iterdir()) == before


@fuzzed("option files: vlif compare", 120, 5_000)
@given(data=st.data())
def test_changed_options_of_a_comparison_are_read_or_refused(options, fresh_basicsr, data):
    from vlif_plugin.comparison.request import read_request

    (fresh_basicsr / "opt.yml").write_text(yaml.safe_dump(options))
    compared = {
        "name": "small",
        "networks": {
            "A": {"network_g": options["network_g"], "weights": "a.pth", "tile": 64},
            "B": {"opt": str(fresh_basicsr / "opt.yml"), "weights": "trained"},
        },
        "datasets": {"test_1": options["datasets"]["val"]},
        "val": {
            "tile": "official80",
            "protocols": ["y", "rgb"],
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}},
            "pictures": {"rain_val": 1},
        },
        "cost": {"size": 64, "images": 1, "repeats": 2, "threads": 1},
        "published": ["Rain200H"],
        "path": {"results_root": "results"},
        "num_gpu": 0,
    }
    path = fresh_basicsr / "compare.yml"
    path.write_text(yaml.safe_dump(data.draw(restructured(compared, VALUES)), allow_unicode=True))
    try:
        read_request(str(path))
    except PluginError as error:
        check_line(error, path)
