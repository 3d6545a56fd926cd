"""Each protocol against an independent oracle: another library, or its rule written out."""

import cv2
import numpy as np
import pytest
from helpers import photograph
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.metrics.image import integer_luma, luma, shrink_as_matlab


def pair(height=70, width=90, seed=0):
    clean = photograph(height, width, seed)
    noise = np.random.default_rng(seed).normal(0, 12, clean.shape)
    return np.clip(clean + noise, 0, 255).round().astype(np.uint8), clean


def gaussian_ssim(a, b):
    """scikit-image's, with the window and the covariance of Wang et al."""
    axis = 2 if a.ndim == 3 else None
    return structural_similarity(
        a.astype(float), b.astype(float), channel_axis=axis, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=255,
    )  # fmt: skip


def psnr(a, b):
    return 20 * np.log10(255) - 10 * np.log10(np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rgb", {"crop_border": 0}),
        ("y", {"crop_border": 0, "test_y_channel": True}),
        ("y_crop4", {"crop_border": 4, "test_y_channel": True}),
    ],
)
def test_basicsrs_protocols_equal_basicsr(name, options):
    from vlif_plugin.basicsr_host import register_all

    register_all()
    from basicsr.metrics import calculate_psnr, calculate_ssim

    a, b = pair()
    bgr = a[..., ::-1], b[..., ::-1]
    protocol = PROTOCOLS[name]
    # BasicSR computes luma in float32
    assert protocol.psnr(a, b) == pytest.approx(calculate_psnr(*bgr, **options), abs=1e-4)
    assert protocol.ssim(a, b) == pytest.approx(calculate_ssim(*bgr, **options), abs=1e-6)


def test_luma_is_matlabs():
    # what MATLAB's rgb2ycbcr gives for black, white, red, green, blue and a grey
    colours = np.array(
        [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]]
    )
    colours = colours.astype(np.uint8)
    assert integer_luma(colours).tolist() == [[16, 235, 81, 145, 41, 126]]
    assert luma(colours)[0, 2] == pytest.approx(81.481)


def test_y_restormer_scores_integers():
    a, b = pair()
    whole = [np.rint(luma(x)) for x in (a, b)]
    protocol = PROTOCOLS["y_restormer"]
    assert protocol.psnr(a, b) == pytest.approx(psnr(*whole), abs=1e-9)
    assert protocol.ssim(a, b) == pytest.approx(gaussian_ssim(*whole), abs=1e-9)
    assert protocol.psnr(a, b) != pytest.approx(PROTOCOLS["y"].psnr(a, b), abs=1e-6)


@pytest.mark.parametrize(
    ("size", "factor"), [((300, 383), 1), ((384, 500), 2), ((512, 520), 2), ((700, 768), 3)]
)
def test_matlabs_down_sampling(size, factor):
    image = np.random.default_rng(0).random(size)
    small = shrink_as_matlab(image)
    assert small.shape == tuple(-(-n // factor) for n in size)
    # imfilter with a box whose centre is at floor((f + 1) / 2), mirrored borders, then 1:f:end
    before = (factor + 1) // 2 - 1
    for i, j in ((0, 0), (3, 7), (small.shape[0] - 1, small.shape[1] - 1)):
        rows = [mirrored(i * factor + k - before, size[0]) for k in range(factor)]
        columns = [mirrored(j * factor + k - before, size[1]) for k in range(factor)]
        assert small[i, j] == pytest.approx(image[np.ix_(rows, columns)].mean(), abs=1e-12)


def mirrored(index, length):
    return -1 - index if index < 0 else 2 * length - 1 - index if index >= length else index


def test_y_matlab_is_y_but_for_the_down_sampled_ssim():
    a, b = pair(400, 390)
    protocol = PROTOCOLS["y_matlab"]
    assert protocol.psnr(a, b) == PROTOCOLS["y"].psnr(a, b)
    halves = [luma(x).reshape(200, 2, 195, 2).mean((1, 3)) for x in (a, b)]
    assert protocol.ssim(a, b) == pytest.approx(gaussian_ssim(*halves), abs=1e-9)
    assert protocol.ssim(a, b) > PROTOCOLS["y"].ssim(a, b) + 0.01


def test_rgb_skimage_is_a_uniform_window_of_seven_before_rounding():
    a, b = (x / 255.0 + offset for x, offset in zip(pair(), (0.0007, 0.0), strict=True))
    protocol = PROTOCOLS["rgb_skimage"]
    assert protocol.psnr(a, b) == pytest.approx(-10 * np.log10(np.mean((a - b) ** 2)), abs=1e-9)
    values = []
    for c in range(3):
        x, y = a[..., c], b[..., c]
        mx, my = uniform_filter(x, 7), uniform_filter(y, 7)
        norm = 49 / 48
        vx, vy = (
            norm * (uniform_filter(x * x, 7) - mx**2),
            norm * (uniform_filter(y * y, 7) - my**2),
        )
        vxy = norm * (uniform_filter(x * y, 7) - mx * my)
        s = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        values.append(s[3:-3, 3:-3].mean())
    assert protocol.ssim(a, b) == pytest.approx(np.mean(values), abs=1e-9)


def test_euvp_is_funie_gans():
    a, b = pair(256, 256)
    grey = [np.asarray(Image.fromarray(x).convert("L")) for x in (a, b)]
    protocol = PROTOCOLS["euvp"]
    assert protocol.psnr(a, b) == pytest.approx(psnr(*grey), abs=1e-9)
    offsets = np.arange(-6, 7)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    line /= line.sum()

    def blur(x):
        return cv2.sepFilter2D(x, cv2.CV_64F, line, line, borderType=cv2.BORDER_REFLECT)

    values = []
    for c in range(3):
        x, y = a[..., c].astype(float), b[..., c].astype(float)
        mx, my, n = blur(x), blur(y), 25 / 24
        vx, vy, vxy = (
            n * (blur(x * x) - mx**2),
            n * (blur(y * y) - my**2),
            n * (blur(x * y) - mx * my),
        )
        c1, c2 = 6.5025, 58.5225
        values.append(
            ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
        )
    assert protocol.ssim(a, b) == pytest.approx(np.mean(values), abs=1e-9)
    assert protocol.psnr(*pair(100, 130)) > 10


def test_channels_are_averaged_where_the_name_says_so():
    a, b = pair()
    expected = np.mean([psnr(a[..., c], b[..., c]) for c in range(3)])
    assert PROTOCOLS["rgb_channels"].psnr(a, b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_equal_images_score_perfectly_and_better_images_score_better(name):
    protocol = PROTOCOLS[name]
    bad, clean = pair()
    better = (clean.astype(int) + (bad.astype(int) - clean) // 3).astype(np.uint8)
    assert protocol.psnr(clean, clean) == float("inf")
    assert protocol.ssim(clean, clean) == pytest.approx(1, abs=1e-9)
    assert protocol.psnr(better, clean) > protocol.psnr(bad, clean) + 5
    assert protocol.ssim(better, clean) > protocol.ssim(bad, clean)
    assert protocol.what
    assert protocol.used_by


def test_protocols_disagree_on_one_pair():
    a, b = pair(400, 390)
    values = {name: protocol.psnr(a, b) for name, protocol in PROTOCOLS.items()}
    assert values["y"] > values["rgb"] + 0.5
    assert len({round(value, 3) for value in values.values()}) >= 5


def test_every_protocol_can_be_switched_on_in_an_option_file(fresh_basicsr):
    import csv

    from helpers import small_options, write_options

    from vlif_plugin.basicsr_host import run

    opt = small_options(fresh_basicsr)
    opt["train"]["total_iter"] = 2
    opt["val"]["metrics"] = {
        f"{kind}_{name}": {"type": f"{kind}_{name}"}
        for name in PROTOCOLS
        for kind in ("psnr", "ssim")
    }
    opt["val"]["save_img"] = True
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    folder = fresh_basicsr / "experiments" / "small"
    row = next(csv.DictReader((folder / "validation" / "rain_val_2.csv").open()))
    result = cv2.imread(str(folder / "visualization" / "000" / "000_2.png"))[..., ::-1]
    from vlif_plugin.data import LmdbSource

    clean = LmdbSource(opt["datasets"]["val"]["dataroot_gt"]).read("000")
    for name, protocol in PROTOCOLS.items():
        # rgb_skimage is scored before rounding
        tolerance = 0.05 if name == "rgb_skimage" else 1e-9
        assert float(row[f"psnr_{name}"]) == pytest.approx(
            protocol.psnr(result, clean), abs=tolerance
        )
        assert float(row[f"ssim_{name}"]) == pytest.approx(
            protocol.ssim(result, clean), abs=tolerance
        )
    assert float(row["psnr_rgb_skimage"]) != pytest.approx(float(row["psnr_rgb"]), abs=1e-9)
