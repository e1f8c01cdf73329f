"""Pictures of an evaluation: what is drawn is what was measured."""

import matplotlib.colors
import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import InputError
from luperson_jax.measure import html_report, plots
from luperson_jax.measure.plots import Shown
from luperson_jax.retrieval import ranking, verification
from luperson_jax.structs import EmbeddingSet


@pytest.fixture(scope="module")
def sets() -> tuple[EmbeddingSet, EmbeddingSet]:
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((8, 6))

    def embed(num):
        pid = np.arange(num) % 9 - 1
        features = (centers[pid] + 0.8 * generator.standard_normal((num, 6))).astype(np.float32)
        return EmbeddingSet(features, pid, generator.integers(0, 3, num), ("",) * num)

    return embed(20), embed(60)


def test_curves_pass_through_what_was_measured(sets):
    report = ranking.rank(*sets, max_rank=7)
    (line,) = plots.cmc({"": report}).axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 8))
    np.testing.assert_allclose(line.get_ydata(), 100 * report.cmc)

    roc = verification.curve(verification.count_pairs(*sets))
    axes = plots.roc({"all": roc}).axes[0]
    (line,) = axes.get_lines()
    assert f"{roc.auc:.4f}" in axes.get_legend().get_texts()[0].get_text()
    drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert len(drawn) == len(np.unique(roc.fpr))
    for fpr in np.unique(roc.fpr)[1:]:  # 0 has no place on a logarithmic axis
        assert drawn[fpr] == 100 * verification.tpr_at_fpr(roc, fpr)


def test_a_long_curve_is_thinned_and_keeps_its_ends(sets, monkeypatch):
    monkeypatch.setattr(plots, "MAX_POINTS", 50)
    roc = verification.curve(verification.count_pairs(*sets))
    (line,) = plots.roc({"": roc}).axes[0].get_lines()
    x, y = line.get_xdata(), line.get_ydata()
    assert 20 < len(x) <= 51
    assert (x[-1], y[-1]) == (1, 100)
    assert np.all(np.diff(y) >= 0)
    np.testing.assert_allclose(y, [100 * verification.tpr_at_fpr(roc, fpr) for fpr in x])


def test_bars_of_both_kinds_make_a_hundred_percent(sets):
    axes = plots.distances(verification.count_pairs(*sets), "cosine").axes[0]
    same, different = axes.patches
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "same person",
        "different people",
    ]
    for patch, color in ((same, plots.SAME), (different, plots.DIFFERENT)):
        assert matplotlib.colors.same_color(patch.get_facecolor()[:3], color)
        heights = patch.get_xy()[1:-1:2, 1][: plots.NUM_BARS]
        assert heights.sum() == pytest.approx(100)


def test_identities_on_the_plane_are_chosen_by_seed_and_people_only(sets, monkeypatch):
    monkeypatch.setattr(plots, "MAX_EMBEDDED", 15)
    figures = [plots.plane(sets[1], num_identities=5, seed=seed) for seed in (3, 3, 4)]
    labels = [
        [text.get_text() for text in figure.axes[0].get_legend().get_texts()] for figure in figures
    ]
    assert labels[0] == labels[1] != labels[2]
    assert all(len(names) == 5 and min(map(int, names)) > 0 for names in labels)
    points = [
        np.concatenate([group.get_offsets() for group in figure.axes[0].collections])
        for figure in figures
    ]
    assert len(points[0]) == 15
    np.testing.assert_array_equal(points[0], points[1])


def test_a_plane_of_one_picture():
    one = EmbeddingSet(np.ones((1, 3), np.float32), np.array([7]), np.array([0]), ("",))
    assert plots.plane(one).axes[0].get_legend().get_texts()[0].get_text() == "7"


@pytest.fixture
def lists(tmp_path) -> list[list[Shown]]:
    paths = []
    for number, shade in enumerate((20, 120, 220)):
        paths.append(str(tmp_path / f"<{number}>.png"))
        Image.new("RGB", (16, 32), (shade, 0, 0)).save(paths[-1])
    return [
        [Shown(paths[:1], "query", None), Shown(paths[1:4], "1: 0.1", True)],
        [Shown(paths[2:3], "query", None), Shown((), "1: 0.2", False), Shown(paths[:1], "2", None)],
    ]


def test_a_sheet_frames_right_and_wrong(lists, tmp_path):
    figure = plots.sheet(lists, "Nearest")
    drawn = figure.axes
    assert [one.get_xlabel() for one in drawn] == ["query", "1: 0.1", "query", "1: 0.2", "2"]
    colors = [plots.PLAIN, plots.SAME, plots.PLAIN, plots.DIFFERENT, plots.PLAIN]
    for one, color in zip(drawn, colors, strict=True):
        assert matplotlib.colors.same_color(one.spines["left"].get_edgecolor(), color)
    shades = [one.get_images()[0].get_array()[0, 0, 0] for one in drawn if one.get_images()]
    assert shades == [20, 120, 220, 20]
    places = [one.get_position() for one in drawn]
    assert places[0].x0 == places[2].x0 < places[1].x0 == places[3].x0 < places[4].x0
    assert places[0].y0 > places[2].y1
    plots.save(figure, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
    with pytest.raises(InputError, match="cannot write"):
        plots.save(figure, tmp_path / "none" / "sheet.png")


def test_a_page_of_lists_frames_right_and_wrong(lists):
    page = html_report.make_of_lists("a < b", lists)
    assert "<h1>a &lt; b</h1>" in page
    assert page.count("<img") == 4
    assert page.count("class='query'") == 2
    assert page.count("class='right'") == page.count("class='wrong'") == 1
    assert "no file" in page
    assert "title='&lt;1&gt;.png'" in page
