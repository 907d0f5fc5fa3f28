"""Many budgets from one calibration: the same points wherever they are done, kept when interrupted."""

import dataclasses
import json
import sys
from pathlib import Path

import distributed
import joblib
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_zoo import tiny_models

import hgqify
from hgqify.errors import BudgetError, ExportError, RuleError
from hgqify.pareto import Metric, SweepPoint, default_budgets, ranked
from hgqify.precision import to_npz
from hgqify.progress import no_progress
from hgqify.report import Quality

BUDGETS = (900, 600, 400)


def data(model, seed=1):
    """Inputs, and labels that the float model gets right for six of seven."""
    x = tiny_models.inputs(model, 160, seed=seed)
    labels = np.asarray(model.predict(x, verbose=0)).argmax(axis=1)
    labels[::7] = (labels[::7] + 1) % 3
    return x, labels


@pytest.fixture(scope="module")
def mlp():
    return tiny_models.build("mlp", seed=1)


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def swept(mlp, events):
    x, labels = data(mlp)
    return hgqify.sweep(mlp, x, BUDGETS, labels=labels, progress=events.append)


def integers(result, folder):
    """Every array of a result's program, by name."""
    to_npz(result.program, folder / "program.npz")
    with np.load(folder / "program.npz") as file:
        return {name: file[name] for name in file.files}


def assert_same_integers(one, other, folder):
    first, second = integers(one, folder), integers(other, folder)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def figures(points):
    """Points without what the clock says, and their place among others."""
    return [dataclasses.replace(p, seconds=0.0, on_front=False, chosen=False) for p in points]


def assert_same_points(sweep, swept, folder):
    """A sweep of all but the first budget, done elsewhere."""
    assert figures(sweep.points) == figures(swept.points[1:])
    for ours, theirs in zip(sweep.points, swept.points[1:], strict=True):
        assert_same_integers(sweep.result(ours), swept.result(theirs), folder)


def test_points_keep_their_budgets_and_calibration_happens_once(swept, events):
    assert [point.target_ebops for point in swept.points] == list(BUDGETS)
    for point in swept.points:
        assert 0.8 * point.target_ebops < point.ebops <= point.target_ebops
        assert point.metric == pytest.approx(swept.float_metric - point.drop)
    assert [point.loss for point in swept.points] == sorted(point.loss for point in swept.points)
    assert swept.metric is Metric.ACCURACY
    ended = [event.stage for event in events if event.done == event.total]
    assert [ended.count(stage) for stage in ("calibrate", "sensitivity", "sweep")] == [1, 1, 1]
    told = [event for event in events if event.milestone]
    assert [event.values["EBOPs"] for event in told] == [point.ebops for point in swept.points]
    assert [event.values["accuracy %"] for event in told] == [point.metric for point in swept.points]


def test_a_point_is_what_convert_gives_under_its_budget(mlp, swept, tmp_path):
    x, labels = data(mlp)
    for point in (swept.points[2], swept.points[0]):  # any order: none leaves a trace in another
        found = swept.result(point)
        expected = hgqify.convert(
            mlp, x, labels=labels, target_ebops=point.target_ebops, finetune_steps=0, progress=no_progress
        )
        assert_same_integers(found, expected, tmp_path)
        ours, theirs = found.report.to_dict(), expected.report.to_dict()
        assert ours.pop("seconds").keys() == theirs.pop("seconds").keys()
        assert ours.pop("created") <= theirs.pop("created")
        assert theirs.pop("sweep") is None
        assert [p["ebops"] for p in ours.pop("sweep")["points"]] == [p.ebops for p in swept.points]
        assert ours == theirs
        assert point.quality == found.report.quality
        inputs = [tiny_models.inputs(mlp, 20, seed=3)]
        np.testing.assert_array_equal(
            found.model.predict_on_batch(inputs[0]), expected.model.predict_on_batch(inputs[0])
        )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("shared", {}),
        ("mlp_batchnorm", {"compensate": False}),
        ("mlp", {"overflow": "PROVED", "rules": [hgqify.Rule(layer_type="Dense", weight_bits=6)]}),
    ],
)
def test_other_graphs_and_settings_give_what_convert_gives(name, options, tmp_path):
    model = tiny_models.build(name, seed=1)
    x = tiny_models.inputs(model, 96, seed=1)
    sweep = hgqify.sweep(model, x, [2000, 1000], progress=no_progress, **options)
    expected = hgqify.convert(model, x, target_ebops=1000, finetune_steps=0, progress=no_progress, **options)
    assert_same_integers(sweep.result(sweep.points[1]), expected, tmp_path)


def test_two_processes_give_the_same(mlp, swept, tmp_path):
    x, labels = data(mlp)
    sweep = hgqify.sweep(mlp, x, BUDGETS[1:], labels=labels, jobs=2, progress=no_progress)
    assert_same_points(sweep, swept, tmp_path)


def test_a_dask_cluster_gives_the_same(mlp, swept, tmp_path):
    x, labels = data(mlp)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        sweep = hgqify.sweep(mlp, x, BUDGETS[1:], labels=labels, progress=no_progress)
        # Both workers had a part: the library was imported there.
        assert sum(client.run(lambda: "hgqify.pareto.job" in sys.modules).values()) == 2
    assert_same_points(sweep, swept, tmp_path)


class TestResuming:
    @pytest.fixture
    def again(self, mlp, tmp_path):
        """Runs the sweep of an output folder; gives how many points were computed, and the sweep."""
        x, labels = data(mlp)

        def run(*, stop_after=None, **changes):
            computed = []

            def progress(event):
                if event.milestone:
                    computed.append(event)
                if len(computed) == stop_after:
                    raise KeyboardInterrupt

            options = {"labels": labels, "output": tmp_path / "out", "progress": progress} | changes
            model, inputs = options.pop("model", mlp), options.pop("x", x)
            sweep = hgqify.sweep(model, inputs, options.pop("budgets", BUDGETS), **options)
            return len(computed), sweep

        return run

    @pytest.fixture
    def points(self, tmp_path):
        return lambda: sorted(path.name for path in (tmp_path / "out" / "points").iterdir())

    def test_an_interrupted_sweep_goes_on(self, again, points, swept, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            again(stop_after=1)
        assert points() == ["900.npz"]
        assert not (tmp_path / "out" / "sweep.json").exists()
        count, sweep = again()
        assert count == 2
        assert figures(sweep.points) == figures(swept.points)
        assert_same_integers(sweep.result(sweep.points[0]), swept.result(swept.points[0]), tmp_path)
        assert points() == ["400.npz", "600.npz", "900.npz"]
        count, sweep = again(budgets=[600, 500], max_drop=20.0)
        assert count == 1
        assert [point.target_ebops for point in sweep.points] == [600, 500]

    def test_what_changed_is_named_and_refused(self, again, points, mlp):
        again(budgets=[600])
        x, labels = data(mlp)
        moved = keras.models.clone_model(mlp)
        moved.set_weights(mlp.get_weights())
        moved.layers[0].bias.assign_add(np.full(12, 0.01))
        for changed, options in (
            ("settings", {"weight_bits": 7}),
            ("settings", {"compensate": False}),
            ("model", {"model": moved}),
            ("calibration data", {"x": x + np.float32(0.01)}),
            ("data judged on", {"validation": (x, labels)}),
        ):
            with pytest.raises(ExportError, match=f"the {changed}.*changed.*force=True"):
                again(budgets=[600], **options)
        assert points() == ["600.npz"]
        count, sweep = again(budgets=[600], weight_bits=7, force=True)
        assert count == 1
        assert sweep.points[0].ebops <= 600
        with pytest.raises(ExportError, match="the settings changed"):
            again(budgets=[600])

    def test_ranges_that_only_later_samples_show_are_noticed(self, again, mlp):
        x = np.concatenate([tiny_models.inputs(mlp, 160, seed=s) for s in range(4)])
        again(budgets=[600], x=x, labels=None, validation=x[:100])
        x[-1] *= 20
        with pytest.raises(ExportError, match="the calibrated formats changed"):
            again(budgets=[600], x=x, labels=None, validation=x[:100])

    def test_a_damaged_point_is_done_again(self, again, swept, tmp_path):
        again(budgets=[600])
        path = tmp_path / "out" / "points" / "600.npz"
        path.write_bytes(path.read_bytes()[:-200])
        count, sweep = again(budgets=[600])
        assert count == 1
        assert sweep.points[0].ebops == swept.points[1].ebops
        assert again(budgets=[600])[0] == 0

    def test_somebody_elses_folder_is_not_touched(self, again, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("years of work")
        with pytest.raises(ExportError, match="holds something else"):
            again(force=True)

    def test_what_is_written(self, again, tmp_path, monkeypatch):
        _, sweep = again(budgets=[900, 600, 5])
        out = tmp_path / "out"
        assert sorted(p.name for p in out.iterdir()) == ["points", "sweep.json", "sweep.png", "sweep.svg"]
        read = json.loads((out / "sweep.json").read_text())
        assert read == sweep.to_dict()
        assert [point["target_ebops"] for point in read["points"]] == [900, 600]
        assert [entry["target_ebops"] for entry in read["unmet"]] == [5]
        assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
        # The same without matplotlib.
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        count, sweep = again(budgets=[900, 600, 5], output=out)
        assert count == 0
        assert sweep.files == ("sweep.json",)
        assert "pip install 'hgqify[plot]'" in sweep.table().splitlines()[-1]
        with pytest.raises(ExportError, match="without matplotlib"):
            sweep.plot(tmp_path / "x.png")


def test_the_table_marks_the_choice(swept):
    lines = swept.table().splitlines()
    assert lines[0].startswith("mlp: accuracy on 160 samples of calibration data; float model 85.6")
    assert lines[1].split() == ["budget", "EBOPs", "accuracy", "%", "points", "lost", "loss", "s"]
    (marked,) = [line for line in lines if line.endswith("<- chosen")]
    assert marked.split()[:2] == [f"{swept.chosen.target_ebops:,}", f"{swept.chosen.ebops:,}"]
    assert len({line.index(".") for line in lines[2:5]}) == 1  # decimal points below each other
    assert lines[-1] == "chosen: the fewest EBOPs that lose at most 0.5 points, else the best accuracy"


def test_plots_are_drawn_in_formats_that_exist(swept, tmp_path):
    swept.plot(tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert "<svg" in text
    with pytest.raises(ExportError, match="unknown format"):
        swept.plot(tmp_path / "plot.txt")


def test_default_budgets_halve():
    assert default_budgets(12_800) == (12_800, 6400, 3200, 1600, 800, 400, 200, 100)
    assert default_budgets(3) == (3, 1)


def test_without_classes_decibels_decide(mlp):
    x, _ = data(mlp)
    sweep = hgqify.sweep(mlp, x, progress=no_progress)
    assert sweep.metric is Metric.SQNR  # nothing says that three numbers are classes
    budgets = [entry.target_ebops for entry in (*sweep.points, *sweep.unmet)]
    assert budgets == list(default_budgets(sweep.limit_ebops))
    assert sweep.chosen == min(
        (point for point in sweep.points if point.metric >= 30), key=lambda point: point.ebops
    )
    assert "points lost" not in sweep.table()
    with pytest.raises(BudgetError, match="Leave max_drop out"):
        hgqify.convert(mlp, x, budgets=[600], max_drop=1, progress=no_progress)


def test_classes_without_labels_are_compared_with_the_float_models(mlp):
    x, labels = data(mlp)
    sweep = hgqify.sweep(mlp, x, [600], labels=labels, validation=x[:32], progress=no_progress)
    assert (sweep.metric, sweep.data, sweep.samples) == (Metric.AGREEMENT, "validation data", 32)
    assert sweep.points[0].metric == pytest.approx(100 - sweep.points[0].drop)


def test_labels_of_validation_data_judge(mlp):
    x, labels = data(mlp)
    held, truth = data(mlp, seed=2)
    sweep = hgqify.sweep(
        mlp, x, [600], labels=labels, validation=held, validation_labels=truth, progress=no_progress
    )
    (scores,) = [sweep.result().model.predict_on_batch(held)]
    assert sweep.points[0].metric == pytest.approx(100 * np.mean(scores.argmax(axis=1) == truth))
    # Unlabelled calibration allocates as without validation.
    same = hgqify.sweep(mlp, x, [600], validation=(held, truth), progress=no_progress)
    assert same.metric is Metric.ACCURACY
    assert same.points[0].loss == hgqify.sweep(mlp, x, [600], progress=no_progress).points[0].loss


def test_convert_with_budgets_gives_the_chosen_point(mlp, swept, tmp_path):
    x, labels = data(mlp)
    found = hgqify.convert(mlp, x, labels=labels, budgets=BUDGETS[1:], max_drop=50.0, progress=no_progress)
    assert_same_integers(found, swept.result(swept.points[-1]), tmp_path)
    with pytest.raises(BudgetError, match=r"loses more.*max_drop 0 points. The least lost is"):
        hgqify.convert(mlp, x, labels=labels, budgets=[400], max_drop=0, progress=no_progress)


def test_budgets_that_cannot_be_met_are_listed(mlp):
    x, labels = data(mlp)
    sweep = hgqify.sweep(mlp, x, [600, 1], labels=labels, progress=no_progress)
    assert [point.target_ebops for point in sweep.points] == [600]
    assert [entry.target_ebops for entry in sweep.unmet] == [1]
    assert "outputs are constant" in sweep.table()
    with pytest.raises(BudgetError, match=r"(?s)no budget of the sweep.*\n  2: .*\n  1: .*larger ones"):
        hgqify.sweep(mlp, x, [1, 2], labels=labels, progress=no_progress)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": []}, "list of EBOPs"),
        ({"budgets": 600}, "list of EBOPs"),
        ({"budgets": "600"}, "list of EBOPs"),
        ({"budgets": [0, 600, True, 1.5]}, "received: 0, True, 1.5"),
        ({"jobs": 0}, "jobs must be"),
        ({"jobs": 1.5}, "jobs must be"),
        ({"max_drop": -1}, "percentage points"),
        ({"target_ebops": 5}, "budgets, not one target_ebops"),
        ({"finetune_steps": 10}, "are not fine-tuned"),
        ({"validation_labels": [1]}, "come with validation data"),
        ({"weight_bit": 5}, "Did you mean weight_bits"),
    ],
)
def test_mistakes(options, message, mlp):
    options = {"budgets": [600]} | options
    with pytest.raises(RuleError, match=message):
        hgqify.sweep(mlp, data(mlp)[0], progress=no_progress, **options)


def test_a_backend_that_forks_is_refused(mlp):
    with (
        joblib.parallel_config(backend="multiprocessing", n_jobs=2),
        pytest.raises(RuleError, match="Use 'loky'"),
    ):
        hgqify.sweep(mlp, data(mlp)[0], [600], progress=no_progress)


def test_mistakes_of_convert_with_budgets(mlp):
    x, _ = data(mlp)
    for options in ({"target_ebops": 600}, {"finetune_steps": 5}):
        with pytest.raises(RuleError, match=next(iter(options))):
            hgqify.convert(mlp, x, budgets=[600], progress=no_progress, **options)
    for options in ({"budgets": [0]}, {"budgets": [600], "max_drop": -1}):
        with pytest.raises(RuleError, match=r"received: (0|-1)"):
            hgqify.convert("no such model", x, progress=no_progress, **options)


def point(ebops, metric, best=100.0):
    quality = Quality(
        samples=1, agreement=None, float_accuracy=None, accuracy=None, output_sqnr_db=0, data=""
    )
    return SweepPoint(
        target_ebops=ebops, ebops=ebops, metric=metric, drop=best - metric, loss=0, quality=quality, seconds=0
    )


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(90, 100)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(drawn):
    found = ranked([point(*pair) for pair in drawn], Metric.ACCURACY, None)
    assert sorted((p.ebops, p.metric) for p in found) == sorted(drawn)
    front = [(p.ebops, p.metric) for p in found if p.on_front]
    for ebops, metric in front:
        assert not any(e <= ebops and m >= metric and (e, m) != (ebops, metric) for e, m in drawn)
    for p in found:
        if not p.on_front:
            assert any(e <= p.ebops and m >= p.metric and (e, m) != (p.ebops, p.metric) for e, m in front)
    (chosen,) = [p for p in found if p.chosen]
    assert chosen.on_front


def test_which_point_is_chosen():
    points = [point(400, 100.0), point(200, 99.6), point(100, 99.4), point(50, 97.0)]

    def chosen(points, metric=Metric.ACCURACY, max_drop=None):
        return next((p.ebops for p in ranked(points, metric, max_drop) if p.chosen), None)

    assert chosen(points) == 200
    assert chosen(points, max_drop=0.6) == 100
    assert chosen(points, max_drop=10.0) == 50
    assert chosen(points, max_drop=0) == 400
    assert chosen(points[2:]) == 100
    assert chosen(points[2:], max_drop=0.5) is None
    decibels = [point(400, 48.0), point(200, 31.0), point(100, 29.0)]
    assert chosen(decibels, Metric.SQNR) == 200
    assert chosen(decibels[2:], Metric.SQNR) == 100


def test_mnist_from_one_calibration():
    """Half the EBOPs cost little, a fiftieth costs much; data not calibrated with judges."""
    folder = Path(__file__).parents[1] / "fixtures/mnist"
    sweep = hgqify.sweep(
        folder / "model.keras",
        folder / "calib.npy",
        [20_000_000, 4_500_000, 2_000_000],
        validation=folder / "holdout.npz",
        compensate=False,
        progress=no_progress,
    )
    assert sweep.metric is Metric.ACCURACY
    assert sweep.float_metric > 98.5
    first, second, third = sweep.points
    assert first.metric >= second.metric > third.metric
    assert first.drop < 0.3
    assert sweep.chosen in (first, second)
    assert first.on_front or first.metric == second.metric
