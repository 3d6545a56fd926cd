"""The page in a real browser: sorting, colours, the divider, and width; where one is installed."""

from dataclasses import replace

import comparison_example as example
import pytest
from browser import act_on, needs_browser

from vlif_plugin.comparison.page import render

pytestmark = needs_browser

# what a person does, and what then stands in the document
ACT = """
<script>
addEventListener("load", () => {
  const found = { errors: window.failures };
  const root = document.documentElement;
  const measured = document.querySelector("table.measured");
  const names = () => [...measured.tBodies].map((b) => b.rows[0].cells[0].dataset.value);
  const heads = [...measured.querySelectorAll("thead tr:last-child th")];
  const head = (text) => heads.find((h) => h.textContent.includes(text));
  const state = () => heads.map((h) => h.getAttribute("aria-sort")).filter(Boolean);
  found.width = [root.scrollWidth, innerWidth];
  found.boxes = [...document.querySelectorAll(".scroll")].map((b) => b.getBoundingClientRect().right);
  found.drawings = [...document.querySelectorAll(".drawing")]
    .map((d) => [d.className, getComputedStyle(d).display, d.getBoundingClientRect().right]);
  found.as_written = names();
  found.sorted = ["psnr_y", "lpips", "parameters", "network"].map((title) => {
    const click = () => { head(title).querySelector("button").click(); return [state(), names()]; };
    return [click(), click(), click()];
  });
  const sticky = measured.tBodies[0].rows[0].cells[0];
  const box = measured.closest(".scroll");
  box.scrollLeft = 300;
  found.sticky = sticky.getBoundingClientRect().left - box.getBoundingClientRect().left;
  box.scrollLeft = 0;
  const toggle = document.querySelectorAll(".columns button")[1];
  const shown = () => [...measured.querySelectorAll("thead tr:last-child th")].filter((h) => !h.hidden).length;
  found.columns = [shown(), (toggle.click(), shown()), toggle.getAttribute("aria-pressed"), (toggle.click(), shown())];
  const theme = document.getElementById("theme");
  const colour = () => [theme.textContent, getComputedStyle(document.body).backgroundColor];
  found.theme = [colour(), (theme.click(), colour()), (theme.click(), colour())];

  const viewer = document.querySelector(".viewer");
  const stage = viewer.querySelector(".stage"), divider = viewer.querySelector(".divider");
  const area = () => stage.getBoundingClientRect();
  const middle = () => divider.getBoundingClientRect().left + 1 - area().left;
  const at = () => [divider.getAttribute("aria-valuenow"), Math.round(100 * middle() / area().width)];
  const key = (name, more) => divider.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  found.divider = [at()];
  for (const [name, more] of [["ArrowRight"], ["ArrowLeft", { shiftKey: true }], ["End"], ["PageDown"], ["Home"]]) {
    key(name, more);
    found.divider.push(at());
  }
  const point = (kind, share, more) => stage.dispatchEvent(new PointerEvent(kind, {
    bubbles: true, pointerId: 7, button: 0, clientX: area().left + share * area().width,
    clientY: area().top + 5, ...more }));
  point("pointermove", 0.9);
  found.dragged = [at()[1]];
  point("pointerdown", 0.25, { pointerType: "touch" }); found.dragged.push(at()[1]);
  point("pointermove", 0.6); found.dragged.push(at()[1]);
  point("pointermove", 1.7); found.dragged.push(at()[1]);
  point("pointerup", 0.6); point("pointermove", 0.1); found.dragged.push(at()[1]);
  point("pointerdown", 0.5, { button: 2 }); found.dragged.push(at()[1]);

  const pick = (what) => viewer.querySelector(`[data-pick="${what}"]`);
  const options = (what) => [...pick(what).options].map((o) => o.text);
  const choose = (what, text) => {
    pick(what).value = [...pick(what).options].find((o) => o.text === text).value;
    pick(what).dispatchEvent(new Event("change"));
  };
  const sides = () => ["left", "right"].map((side) => [
    viewer.querySelector(`[data-side="${side}"]`).alt,
    viewer.querySelector(`[data-end="${side}"]`).textContent,
  ]);
  found.options = [options("image"), options("left"), options("right")];
  found.sides = [sides()];
  choose("right", "ground truth"); found.sides.push(sides());
  choose("image", "norain-2"); found.sides.push(sides());
  found.fewer = options("left");
  viewer.querySelector('[data-view="detail"]').click();
  const image = viewer.querySelector('[data-side="left"]').getBoundingClientRect();
  found.detail = [image.width / area().width, image.height / area().height,
    (area().left - image.left) / image.width, (area().top - image.top) / image.height];
  viewer.querySelector('[data-view="whole"]').click();
  found.whole = viewer.querySelector('[data-side="left"]').getBoundingClientRect().width - area().width;
  found.ratio = area().width / area().height;
  found.after = [root.scrollWidth, innerWidth];
  const images = [...viewer.querySelectorAll("img")];
  Promise.all(images.map((i) => i.decode().catch(() => null))).then(() => {
    found.loaded = images.map((i) => i.naturalWidth);
    found.title = document.title;
    const out = document.createElement("pre");
    out.id = "found";
    out.textContent = JSON.stringify(found);
    document.body.append(out);
  });
});
</script>
"""


def visit(comparison, folder, size):
    """Open the page in a window of that size, act, and hand back what was found."""
    return act_on(render(comparison, folder), ACT, folder, size)


@pytest.fixture(scope="module", params=[(390, 844), (1280, 900)], ids=["phone", "desktop"])
def found(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    return visit(example.comparison(folder), folder, request.param)


def test_nothing_goes_wrong(found):
    assert found["errors"] == []
    assert found["loaded"] == [240, 240]


def test_the_page_is_no_wider_than_the_window(found):
    for content, window in (found["width"], found["after"]):
        assert content <= window
    assert all(right <= found["width"][1] for right in found["boxes"])
    shown = "narrow" if found["width"][1] == 390 else "wide"
    for name, display, right in found["drawings"]:
        assert (display != "none") == (shown in name)
        assert right <= found["width"][1]


def test_headings_sort_one_way_the_other_and_back(found):
    psnr, lpips, parameters, names = found["sorted"]
    vlif, nafnet = "VLIF, official, with refinement", "NAFNet, width 32"
    best_first = ["Restormer", nafnet, vlif, "degraded images"]
    missing = ["ESDNet", "out of memory"]  # last in both directions, in their order
    assert psnr[0] == [["descending"], best_first + missing]
    assert psnr[1] == [["ascending"], best_first[::-1] + missing]
    assert psnr[2] == [[], found["as_written"]]
    known = ["Restormer", vlif, "degraded images"]
    assert lpips[0] == [["ascending"], [*known, "ESDNet", nafnet, "out of memory"]]
    assert parameters[0][1][:4] == ["ESDNet", vlif, "Restormer", nafnet]
    assert parameters[1][1][:4] == [nafnet, "Restormer", vlif, "ESDNet"]
    assert names[0][1] == sorted(found["as_written"], key=str.lower)


def test_infinity_sorts_beyond_all_numbers(tmp_path):
    rows = [
        replace(row, scores=tuple(s for s in row.scores if s.dataset == "Rain200L"))
        for row in example.measured()
    ]
    only = example.comparison(tmp_path, measured=tuple(rows), datasets={"Rain200L": 2})
    only = replace(only, pictures=tuple(replace(p, dataset="Rain200L") for p in only.pictures[:2]))
    first, second, _ = visit(only, tmp_path, (800, 600))["sorted"][0]
    assert first[1][0] == "Restormer"
    assert second[1][3] == "Restormer"


def test_the_first_column_stays_when_a_table_scrolls(found):
    assert 0 <= found["sticky"] <= 2


def test_groups_of_columns_can_be_put_away(found):
    before, without, pressed, after = found["columns"]
    assert (before - without, pressed, after) == (3, "false", before)


def test_colours_follow_the_button(found):
    (first, light), (second, dark), again = found["theme"]
    assert (first, second) == ("Dark colours", "Light colours")
    assert light == "rgb(253, 253, 251)"
    assert dark == "rgb(22, 24, 27)"
    assert again == [first, light]


def test_the_divider_follows_keys_and_pointers(found):
    assert found["divider"] == [[str(at), at] for at in (50, 52, 42, 100, 90, 0)]
    assert found["dragged"] == [0, 25, 60, 100, 100, 100]


def test_any_two_versions_of_an_image_can_be_picked(found):
    images, left, right = found["options"]
    versions = [
        "input",
        "VLIF, official, with refinement",
        "NAFNet, width 32",
        "Restormer",
        "ground truth",
    ]
    assert (images, left, right) == (["norain-1", "norain-2"], versions, versions)
    assert found["sides"] == [
        [
            ["norain-1: input", "input 11.82 dB"],
            [f"norain-1: {versions[1]}", f"{versions[1]} 27.19 dB"],
        ],
        [["norain-1: input", "input 11.82 dB"], ["norain-1: ground truth", "ground truth"]],
        [["norain-2: input", "input 14.32 dB"], ["norain-2: ground truth", "ground truth"]],
    ]
    assert found["fewer"] == [versions[0], versions[1], versions[-1]]


def test_the_detail_fills_the_stage(found):
    wide, high, x, y = found["detail"]
    assert (wide, high) == pytest.approx((4, 4), rel=0.01)
    rows, columns = example.SPOT
    assert x * 240 <= columns.start + 0.5
    assert columns.stop - 0.5 <= x * 240 + 60
    assert y * 160 <= rows.start + 0.5
    assert rows.stop - 0.5 <= y * 160 + 40
    assert found["whole"] == pytest.approx(0, abs=0.5)
    assert found["ratio"] == pytest.approx(1.5, rel=0.01)


def test_hostile_names_run_nothing_and_break_nothing(tmp_path):
    hostile = "</script><script>document.title='bad'</script><img src=x onerror=\"document.title='bad'\">'"
    base = example.comparison(tmp_path)
    first = base.pictures[0]
    pictures = [
        replace(p, dataset=hostile, image=p.image, results=first.results) for p in base.pictures[:2]
    ]
    found = visit(
        replace(
            base, name=hostile, datasets={hostile: 2, "b": 1}, notes=(hostile,), pictures=tuple(pictures),
            measured=tuple(
                replace(
                    row, failures=(hostile,),
                    scores=tuple(replace(s, dataset=hostile) for s in row.scores[:1]),
                )
                for row in base.measured
            ),
        ),
        tmp_path,
        (390, 844),
    )  # fmt: skip
    assert found["errors"] == []
    assert found["title"] == f"{hostile} · comparison"
    assert found["width"][0] <= found["width"][1]
