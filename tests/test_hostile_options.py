"""Option files that are traps: refused in one line that names the file."""

import os
import time

import pytest
from hostile import guarded, megabytes

from vlif_plugin.errors import OptionError
from vlif_plugin.option_files import read_option_file, read_value


def chain(first, each, count):
    return f"a0: &a0 {first}\n" + "".join(
        f"a{n}: &a{n} {each.format(*[f'*a{n - 1}'] * 9)}\n" for n in range(1, count)
    )


REFUSED = {
    # aliases are cheap to load, and take the machine when what they give is walked
    "laughs": (chain("[x, x]", "[{}, {}, {}]", 40), "aliases counted"),
    "laughing sections": (chain("{x: 1}", "{{x: {}, y: {}, z: {}}}", 40), "aliases counted"),
    "laughing merges": (chain("{x: 1}", "{{<<: [{}, {}, {}]}}", 40), "aliases counted"),
    "a long chain": (chain("[x]", "[{}]", 150), "line 50: more than 20000 values or 50 levels, aliases counted"),
    "an alias of itself": ("a: &a [*a]", "line 1: an alias of the section that it stands in"),
    "a section in itself": ("&a {b: *a}", "an alias of the section"),
    "a merge with itself": ("a: &a {<<: *a}", "an alias of the section"),
    "a key of itself": ("? &a [*a]\n: 1", "an alias of the section"),
    "a value of itself": ("a: &a !!str {=: *a}", "an alias of the section"),
    "brackets": ("a: " + "[" * 100_000, "more than 50 levels deep"),
    "braces": ("a: " + "{a: " * 30_000, "more than 50 levels deep"),
    "dashes": ("- " * 50_000, "more than 50 levels deep"),
    "indents": ("".join(" " * n + "a:\n" for n in range(300)), "line 50: more than 50 levels deep"),
    "many values": ("[" + "a," * 60_000 + "]", "more than 20000 values"),
    "a large file": ("a: " + "x" * 2**18, "larger than 131072 bytes"),
    # one digit more takes int() a ValueError, and the pattern of numbers minutes
    "digits": ("a: " + "9" * 5000, "a number that is too long"),
    "more digits": ("a: " + "9" * 130_000, "a number that is too long"),
    "digits of sixties": ("a: 1" + ":1" * 60_000, "a number that is too long"),
    "digits of sixteen": ("a: 0x" + "f" * 5000, "a number that is too long"),
    "65 bits": ("a: 9223372036854775808", "a number that is too large"),
    "no number": ("a: !!int x", "not valid YAML"),
    "an empty number": ("a: !!int ''", "not valid YAML"),
    "no float": ("a: !!float x", "not valid YAML"),
    "no boolean": ("a: !!bool maybe", "not valid YAML"),
    "no time": ("a: !!timestamp x", "timestamp"),
    "no character": (r'a: "\UFFFFFFFF"', "not valid YAML"),
    "a character beyond all": (r'a: "\U00110000"', "not valid YAML"),
    "half a character": (r'a: "\ud800"', "control characters"),
    "an escape": (r'a: "\e[2J"', "control characters"),
    "a zero": (r'a: "\0"', "control characters"),
    "a zero byte": ("a: \0", "not valid YAML (unacceptable character #x0000"),
    "a set": ("a: !!set {a}", "constructor"),
    "pairs": ("a: !!pairs [a: 1]", "constructor"),
    "bytes": ("a: !!binary aGk=", "constructor"),
    "a class": ("a: !!python/object/apply:os.system ['true']", "constructor"),
    "a class by its short name": ("%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system x", "constructor"),
    "a number as key": ("a: 1\n2: b", "line 2: 2 cannot be a key; put it in quotes"),
    "a boolean as key": ("yes: 1", "yes cannot be a key"),
    "nothing as key": ("~: 1", "~ cannot be a key"),
    "a list as key": ("? [a]\n: b", "cannot be a key"),
    "a section as key": ("? {a: b}\n: c", "cannot be a key"),
    "a key of two lines": ('"a\\nb": 1', r"the key 'a\nb' has control characters"),
    "a merge with a number": ("<<: 5", "not valid YAML"),
    "a merge with numbers": ("<<: [1, 2]", "not valid YAML"),
    "tabs": ("a:\n\tb: 1", "line 2: not valid YAML"),
    "two files in one": ("a: 1\n---\nb: 2", "not valid YAML"),
    "nothing": ("", "is a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_traps_are_refused_in_one_line_and_at_once(case, tmp_path):
    text, message = REFUSED[case]
    path = tmp_path / "opt.yml"
    path.write_text(text, encoding="utf-8")
    said = guarded(lambda: read_option_file(path), more=2**29, seconds=10)
    assert said.startswith(f"OptionError: {path}: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert megabytes(said) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-4", 1e-4),
        ("a: 1.E+5", 1e5),
        ("a: .5e3", 500.0),
        ("a: 9223372036854775807", 2**63 - 1),
        ("a: 2001-99-99", "2001-99-99"),
        ("a: 2001-01-01", "2001-01-01"),
        ("a: &x [1, *y]".replace("*y", "2"), [1, 2]),
        ("b: &x {c: 1}\na: {<<: *x, d: 2}", {"c": 1, "d": 2}),
        ("b: &x [1]\na: [*x, *x]", [[1], [1]]),
        ("\ufeffa: 1", 1),
        ("a: |\n  two\n  lines", "two\nlines"),
        ('a: "\\u3000\\xa0"', "\u3000\xa0"),
    ],
    ids=str,
)
def test_what_is_meant_well_is_read(text, value, tmp_path):
    path = tmp_path / "opt.yml"
    path.write_text(text, encoding="utf-8")
    read = read_option_file(path)["a"]
    assert read == value
    assert type(read) is type(value)


def test_a_section_of_many_keys_takes_no_time_that_grows_with_its_square(tmp_path):
    path = tmp_path / "opt.yml"
    path.write_text("".join(f"k{n}:\n" for n in range(9000)))
    begun = time.perf_counter()
    assert len(read_option_file(path)) == 9000
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    "text", ["9" * 120_000 + "x", "." + "9" * 120_000 + "x", "1" + ":1" * 60_000 + "x"]
)
def test_what_looks_like_a_number_at_first_takes_no_such_time_either(text, tmp_path):
    path = tmp_path / "opt.yml"
    path.write_text(f"a: {text}")
    assert guarded(lambda: len(read_option_file(path)["a"]), seconds=5).startswith(f"{len(text)} ")


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "/dev/zero", "/", "gone.yml", "pipe"])
def test_what_is_no_file_is_named_and_not_waited_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    said = guarded(lambda: read_option_file(name), seconds=5)
    assert said.startswith("OptionError: ")
    assert "no readable option file (" in said


@pytest.mark.parametrize("text", ["[", "9" * 5000, r'"\UFFFFFFFF"', "&a [*a]", "{1: 2}", "!!int x"])
def test_values_of_the_command_line_are_read_with_the_same_care(text):
    with pytest.raises(OptionError, match="is no YAML value") as caught:
        read_value(text)
    assert len(str(caught.value)) < 400
