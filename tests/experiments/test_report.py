"""The report: one file that stands by itself, says what was measured, and shows every kind of case."""

import itertools
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, FigureBase
from matplotlib.transforms import Bbox

from experiments import evaluate, results, train
from experiments.experiment import open_experiment
from experiments.model import load_model
from experiments.report import drawing, markup
from experiments.report.case import Case, Scales
from experiments.report.page import STYLE
from experiments.report.panels import Panel, height, panels
from experiments.report.picture import in_rows
from experiments.report.together import spectra
from experiments.report.words import Quantity, level, names, number, percent
from experiments.results import typical_cases
from experiments.runs import read_config
from experiments.spectrum import make_shells, power, shells
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

CONFIG = """
name = "smoothing <i>x</i>"
[data]
train = ["{folder}/train.npz"]
test = ["{folder}/coarse.npz", "{folder}/fine.npz"]
inputs = ["a"]
outputs = ["u"]
output_units = ["<b>$kg$</b>"]
axes = [{{ kind = "periodic", length = 2.0, name = "x", unit = "m" }}]
calibration = 20
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
[posterior]
name = "ensemble"
members = 2
[training]
steps = 30
batch_size = 8
log_every = 10
checkpoint_every = 30
"""


def write_cases(path: Path, cases: int, n: int, seed: int) -> None:
    c = np.random.default_rng(seed).standard_normal((cases, 3, 1))
    k = np.arange(1, 4)[:, None]
    waves = np.sin(2 * np.pi * k * np.arange(n) / n)
    np.savez(path, a=(c * waves).sum(1), u=(c / (1 + k**2) * waves).sum(1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for name, cases, n in (("train", 60, 24), ("coarse", 12, 24), ("fine", 9, 48)):
        write_cases(folder / f"{name}.npz", cases, n, n)
    (folder / "config.toml").write_text(CONFIG.format(folder=folder))
    assert train.main([str(folder / "config.toml"), "--run", str(folder / "run")]) == 0
    return folder / "run"


class Page(HTMLParser):
    """What is on a page; every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.sources: list[str | None] = []
        self.anchors: set[str | None] = set()
        self.words = ""
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.anchors.add(found.get("id"))
        self.sources += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        if found.get("role") == "img":
            self.images.append(found)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere(run: Path) -> None:
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    inside = [source for source in page.sources if source and source.startswith("#")]
    assert inside
    assert {link.removeprefix("#") for link in inside} <= page.anchors
    assert all(s and s.startswith("data:image/png;base64,") for s in page.sources if s not in inside)
    assert page.images
    assert all(image["aria-label"] for image in page.images)


def test_the_picture_is_one_svg_that_needs_no_other_file(run: Path) -> None:
    picture = ElementTree.parse(run / "picture.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    links = [value for node in picture.iter() for name, value in node.attrib.items() if name.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)


@pytest.mark.parametrize("wide", [(False,) * 6 + (True,), (False, True, False, False, False), (True, True, True)])
def test_the_picture_keeps_the_panels_order_and_its_width(wide: tuple[bool, ...]) -> None:
    drawn = [Panel(str(position), "", lambda _: None, is_wide) for position, is_wide in enumerate(wide)]
    rows = in_rows(drawn)
    assert [panel for row in rows for panel in row] == drawn
    assert all(0 < sum(1 + panel.wide for panel in row) <= 4 for row in rows)


def test_names_of_the_user_are_text(run: Path) -> None:
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert "smoothing <i>x</i>" in page.words
    assert "<b>$kg$</b>" in str([image["aria-label"] for image in page.images])
    assert not {"b", "i", "script"} & page.tags


def test_the_figures_on_the_page_are_those_of_metrics(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    words = Page((run / "report.html").read_text(encoding="utf-8")).words
    assert set(metrics["tests"]) == {"coarse@24", "fine@48"}
    for figures in metrics["tests"].values():
        assert percent(figures["relative_l2"]) in words
        for name in ("crps", "energy_score", "band_width"):
            assert number(figures[name]) in words
    for name, intervals in metrics["intervals"].items():
        low, high = intervals["crps"]
        assert f"{number(low)} to {number(high)}" in words
        assert low < metrics["tests"][name]["crps"] < high
    assert metrics["calibration"]["statement"] in words
    for name in ("coarse (24)", "fine (48)"):
        assert f"{name}, " in words
    for which in ("Best", "Median", "Worst"):
        assert words.count(f"{which} of ") == 2


def test_each_drawing_of_spectra_is_titled_by_its_set(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda _, text, **__: titles.append(text))
    experiment = open_experiment(read_config(run))
    model = load_model(run, experiment)
    entries = [
        entry
        for path, cases in zip(experiment.config.data.test, experiment.test, strict=True)
        for entry in results.test_results(experiment, model, Path(path).stem, cases)
    ]
    spectra(entries, names(experiment), experiment)
    assert titles == ["coarse (24)", "fine (48)"]


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(run: Path) -> None:
    first = (run / "report.html").read_bytes()
    evaluate.evaluate(run)
    assert (run / "report.html").read_bytes() == first


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        evaluate.evaluate(tmp_path)


@pytest.mark.parametrize("shape", [(9,), (9, 7), (5, 7, 6)])
def test_every_panel_of_a_case_is_drawn_in_one_two_and_three_dimensions(shape: tuple[int, ...]) -> None:
    grid = Grid(tuple(Axis.uniform(n, "bounded", 2.0, "both") for n in shape))
    rng = np.random.default_rng(0)
    fields = {name: rng.random(shape) for name in ("truth", "mean", "aleatoric", "epistemic", "lower", "upper")}
    what = Quantity("u_$1$", "m")
    axes = tuple(Quantity(name, "m") for name in "xyz"[: len(shape)])
    given = ((Quantity("a", ""), rng.random(shape)),)
    case = Case(grid=grid, axes=axes, inputs=given, output=what, band="band", scales=Scales(1.0, 1.0, 1.0), **fields)
    shown = panels(case)
    assert len(shown) == (5 if len(shape) == 1 else 7)
    for panel in shown:
        assert drawing.svg(panel.draw, 2.0, height(grid)).startswith(b"<?xml")


def _flat(shape: tuple[int, int]) -> Case:
    """A case on a domain that is five times as wide as high."""
    axes = [Axis.uniform(n, "bounded", length, "both") for n, length in zip(shape, (5.0, 1.0), strict=True)]
    fields = {name: np.zeros(shape) for name in ("truth", "mean", "aleatoric", "epistemic", "lower", "upper")}
    names = (Quantity("x", "m"), Quantity("y", "m"))
    scales = Scales(1.0, 1.0, 1.0)
    return Case(
        grid=Grid(tuple(axes)), axes=names, inputs=(), output=Quantity("u", ""), band="band", scales=scales, **fields
    )


def test_lines_along_a_flat_domain_have_room_and_the_unit_of_where_they_are() -> None:
    case = _flat((9, 5))
    line = panels(case)[-1]
    assert line.title == "Along the dotted line: y = 0.500\u202fm"
    assert height(case.grid, line.wide) == 2.4 > height(case.grid)


def test_where_an_image_is_cut_is_seen_on_light_and_on_dark_pages() -> None:
    error = next(panel for panel in panels(_flat((9, 5))) if panel.title.startswith("Error"))
    drawn = markup.picture(drawing.svg(error.draw, 2.6, 2.0), "")
    [dotted] = re.findall(r"stroke-dasharray: [^;]+;[^>]*stroke: ([^;]+);", drawn)
    assert dotted == drawing.CUT  # an ink of the page would be light on a dark page, on the same image
    assert f"stroke: {drawing.CUT}" in drawn


def test_the_mean_is_drawn_in_an_ink_of_the_page_and_a_test_set_in_its_own_colour() -> None:
    assert drawing.INKS[drawing.MEAN] == "mean"
    assert not drawing.INKS.keys() & {colour.lower() for colour in drawing.COLOURS}


def test_the_caption_of_a_table_does_not_scroll_with_it() -> None:
    table = markup.table("what it shows", ["", "a"], [("b", ["1"])])
    assert "what it shows" in table.partition('class="scroll"')[0]


def test_measured_shares_have_one_decimal_and_levels_as_many_as_they_need() -> None:
    assert [percent(share) for share in (0.9, 1.0, 0.9125)] == ["90.0%", "100.0%", "91.2%"]
    assert [level(share) for share in (0.9, 0.975)] == ["90%", "97.5%"]


def _boxes(artists: Iterable[Artist]) -> list[Bbox]:
    return [artist.get_window_extent() for artist in artists]


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_a_legend_covers_nothing_of_the_axes_and_stays_on_the_drawing(side: str) -> None:
    figure = Figure((3.45, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for position in range(5):
        axes.plot([0, 1], [position, 0], label=f"test set {position} (31 × 31)")
    drawing.legend(axes, side)
    FigureCanvasSVG(figure).draw()
    [box] = _boxes(filter(None, [*figure.legends, axes.get_legend()]))
    parts = [axes.get_window_extent(), axes.xaxis.get_tightbbox(), axes.yaxis.get_tightbbox()]
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(box.overlaps(part) for part in parts)


@pytest.mark.parametrize("high", [1.3, 2.9, 8.0, 60.0, 3e3, 1e9])
@pytest.mark.parametrize("low", [1e-7, 0.21, 40.0])
def test_labels_of_logarithmic_axes_are_at_least_two_and_do_not_overlap(low: float, high: float) -> None:
    with mpl.rc_context(drawing.STYLE):
        figure = Figure((3.45, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([low, low * high], [low, low * high])
        drawing.logarithmic(axes, "xy")
        FigureCanvasSVG(figure).draw()
        for axis, (start, end) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            boxes = _boxes([label for at, label in ticks if start <= at <= end])
            assert len(boxes) >= 2
            assert not any(one.overlaps(two) for one, two in itertools.pairwise(boxes))


def test_a_logarithmic_axis_of_less_than_a_decade_has_more_labels_than_two() -> None:
    axes = Figure().add_subplot()
    axes.plot([4, 18], [4, 18])
    drawing.logarithmic(axes, "x")
    low, high = axes.get_xlim()
    assert [tick for tick in axes.xaxis.get_majorticklocs() if low <= tick <= high] == [5, 7, 10]


def _write(figure: FigureBase) -> None:
    figure.text(0, 0, "--> <script>")


def test_a_drawing_on_a_page_has_the_inks_of_the_page_and_no_text_of_its_own() -> None:
    svg = drawing.svg(_write, 2.0, 1.0)
    drawn = markup.picture(svg, "a & b")
    assert 'viewBox="0 0 144 72"' in drawn
    assert 'aria-label="a &amp; b"' in drawn
    assert "fill: var(--text)" in drawn
    assert "script" not in drawn


def test_every_ink_is_set_for_light_and_dark_pages() -> None:
    style = STYLE.read_text(encoding="utf-8")
    assert all(style.count(f"--{name}: #") == 2 for name in drawing.INKS.values())


def test_typical_cases_are_named_once_and_what_is_not_a_number_is_worst() -> None:
    assert typical_cases(np.array([3.0, 1.0, np.nan, 2.0])) == {"best": 1, "median": 3, "worst": 2}
    assert typical_cases(np.array([1.0])) == {"best": 0}


@pytest.mark.parametrize("kind", ["periodic", "bounded"])
@pytest.mark.usefixtures("x64")
def test_the_shells_of_a_field_add_up_to_its_mean_square(kind: str) -> None:
    placement = "left" if kind == "periodic" else "centre"
    grid = Grid((Axis.uniform(15, kind, 2.0, placement), Axis.uniform(9, kind, 1.0, placement)))  # type: ignore[arg-type]
    field = np.random.default_rng(0).standard_normal((2, 15, 9, 1))
    expected = np.square(field).mean(axis=(1, 2))
    np.testing.assert_allclose(power(jnp.asarray(field), make_shells(grid, (15, 9))).sum(axis=1), expected, rtol=1e-10)
    padded = jnp.pad(field, [(0, 0), (0, 1), (0, 3), (0, 0)], constant_values=7.0)
    np.testing.assert_allclose(power(padded, make_shells(grid, (16, 12))).sum(axis=1), expected, rtol=1e-10)


def test_a_wave_lies_in_its_shell() -> None:
    grid = Grid((Axis.uniform(32, "periodic", 2.0),))
    wave = np.sin(2 * np.pi * 3 * grid.axes[0].points / 2.0)[None, :, None]
    waves, _ = shells(grid)
    found = power(jnp.asarray(wave), make_shells(grid, (32,)))[0, :, 0]
    shell = int(np.argmax(found))
    assert waves[shell] == pytest.approx(1.5)
    assert float(found[shell]) == pytest.approx(0.5)
