"""The page needs nothing else, runs nothing that names say, and can be read by everyone."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import comparison_example as example
import pytest
from page_reader import read

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}</title>\u2028"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return read(example.comparison(folder), folder)


def test_nothing_is_loaded_from_anywhere(page):
    for element in page.elements:
        for name, value in element["attrs"].items():
            if name in ("src", "href", "action", "poster", "srcset", "xlink:href", "data"):
                assert value.startswith(("data:", "#")), (element["tag"], value)
        assert element["tag"] not in ("iframe", "object", "embed", "base", "form")
    style = page.all("style")[0]["text"]
    assert "url(" not in style
    assert "@import" not in style
    script = page.all("script")[-1]["text"]
    assert not re.search(r"fetch|XMLHttp|import\(|https?:|innerHTML", script)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["attrs"]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_hostile_names_are_only_text(tmp_path):
    def spoil(row):
        training = row.training and replace(row.training, opt=HOSTILE)
        return replace(row, name=row.name + HOSTILE, failures=(HOSTILE,), training=training,
                       options={HOSTILE: HOSTILE}, weights=HOSTILE, tile=HOSTILE)  # fmt: skip

    base = example.comparison(tmp_path)
    scored = [
        replace(
            spoil(row),
            scores=tuple(replace(s, dataset=HOSTILE, fingerprint=HOSTILE) for s in row.scores[:1]),
        )
        for row in base.measured
    ]
    pictures = tuple(
        replace(
            p,
            dataset=HOSTILE,
            image=HOSTILE,
            results={k + HOSTILE: v for k, v in p.results.items()},
        )
        for p in base.pictures
    )
    plain = read(base, tmp_path)
    page = read(
        replace(
            base, name=HOSTILE, command=HOSTILE, date=HOSTILE, machine={HOSTILE: HOSTILE, "device": HOSTILE},
            notes=(HOSTILE,), datasets={HOSTILE: 2}, cost_images=(HOSTILE,), measured=tuple(scored),
            metrics=tuple(replace(m, what=HOSTILE) for m in base.metrics), pictures=pictures,
            published=tuple(replace(r, name=HOSTILE, source=HOSTILE, note=HOSTILE) for r in base.published),
        ),
        tmp_path,
    )  # fmt: skip
    assert len(page.all("script")) == 2
    assert {e["tag"] for e in page.elements} <= {e["tag"] for e in plain.elements}
    for element in page.elements:
        assert not any(name.startswith("on") for name in element["attrs"])
        assert element["attrs"].get("src") != "x"
    assert page.all("h1")[0]["text"] == HOSTILE
    data = json.loads(page.all("script", id="pictures")[0]["text"])
    assert data[HOSTILE][0]["image"] == HOSTILE
    assert page.all("script")[-1]["text"] == plain.all("script")[-1]["text"]
    assert "49" not in page.all("title")[0]["text"]


def test_headings_and_ids_are_in_order(page):
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch("h[1-6]", e["tag"])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for reference in (element["attrs"].get("aria-labelledby") or "").split():
            assert reference in ids


def contrast(first, second):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_text_contrasts_with_what_it_stands_on(page):
    style = page.all("style")[0]["text"]
    schemes = re.findall(r"color-scheme: (?:light|dark);[^}]*", style)
    assert len(schemes) == 3
    assert schemes[1].split() == schemes[2].split()  # by system and by button
    for scheme in schemes[:2]:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for ground in ("paper", "raised", "faint", "apart"):
            for ink in ("ink", "soft", "accent", "best", "bad"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for mark in ("spiking", "other"):
            assert contrast(colours[mark], colours["paper"]) >= 3
        for line in range(7):  # their names are written in their colours
            assert contrast(colours[f"c{line}"], colours["paper"]) >= 4.5, line
