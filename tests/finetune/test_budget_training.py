"""Training under a budget, through `hgqify.convert`: kept, never worse, the same again, exact in integers."""

import dataclasses

import keras
import numpy as np
import pytest
from budget_cases import Case, cnn, kernels, make_case, mlp, normalized, samples

import hgqify
from hgqify.data import open_source
from hgqify.errors import RuleError
from hgqify.finetune import FinetuneReport, FinetuneSettings, TrainingBudget, finetune
from hgqify.finetune.budget import LEAST_USE
from hgqify.layers import quantized_layers
from hgqify.precision import lower
from hgqify.progress import no_progress
from hgqify.reference import run
from hgqify.training import exact_ebops

STEPS = 40


def convert(build, budget: int, seed: int = 0, **options) -> hgqify.Result:
    model = build()
    options = {"finetune_steps": STEPS, "progress": no_progress} | options
    return hgqify.convert(model, samples(model), target_ebops=budget, seed=seed, **options)


def train(case: Case, budget: TrainingBudget | None = None, **settings) -> FinetuneReport:
    return finetune(
        case.model,
        case.clone,
        open_source(case.x),
        logits=(True,),
        settings=FinetuneSettings(**{"steps": STEPS, "batch_size": 32, "evaluations": 4} | settings),
        settle=case.settle,
        budget=case.budget if budget is None else budget,
    ).report


def assert_exact(model: keras.Model, program) -> None:
    """Keras equals the integers, on data of the range calibrated for and far beyond it."""
    for scale in (1, 10):
        x = scale * samples(model, 200, seed=7)
        (expected,) = run(program, x).values
        np.testing.assert_array_equal(model.predict_on_batch(x), expected)


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(v) for v in model.variables]


@pytest.fixture(scope="module")
def allocated() -> Case:
    """Weights rounded as they are, so that there is something to mend."""
    return make_case(mlp, 0.06, compensate=False)


@pytest.mark.parametrize(
    ("build", "budget", "seed"),
    [(mlp, 5000, 0), (mlp, 5000, 1), (mlp, 3000, 2), (cnn, 30_000, 0), (normalized, 3000, 0)],
)
def test_the_budget_is_kept_and_the_integers_are_keras(build, budget, seed):
    result = convert(build, budget, seed)
    found = exact_ebops(result.model)
    assert LEAST_USE * budget < found <= budget
    assert result.report.ebops == found
    trained = result.report.finetune
    assert trained["steps"] == STEPS
    assert trained["width_steps"] == round(0.8 * STEPS)
    assert trained["loss"] <= trained["start_loss"]
    assert_exact(result.model, result.program)
    assert_exact(result.model, lower(result.model))


def test_the_budget_is_kept_with_gradients_of_widths_from_a_part_of_the_batch():
    result = convert(cnn, 30_000, width_gradient_part=4)
    assert LEAST_USE * 30_000 < exact_ebops(result.model) <= 30_000
    assert result.report.finetune["loss"] <= result.report.finetune["start_loss"]
    assert_exact(result.model, result.program)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_formats_that_weights_share_keep_the_budget_too(granularity):
    result = convert(mlp, 6000, weight_granularity=granularity)
    assert exact_ebops(result.model) <= 6000
    trained = result.report.finetune
    assert trained["loss"] <= trained["start_loss"]
    chosen = [look for look in trained["looks"] if look["step"] == trained["best_step"]]
    assert exact_ebops(result.model) in [look["ebops"] for look in chosen]
    assert_exact(result.model, result.program)


def test_training_moves_widths_and_helps(allocated):
    """Not only allowed: some step with other widths is better, and is what the model has at the end."""
    case = allocated.again()
    before = {layer.name: np.array(layer.kq.state(np.asarray(layer.kernel)).f) for layer in case.linear}
    report = train(case, steps=120)
    assert report.best_step > 0
    assert report.loss < 0.9 * report.start_loss
    after = {layer.name: np.array(layer.kq.state(np.asarray(layer.kernel)).f) for layer in case.linear}
    assert any((before[name] != f).any() for name, f in after.items())
    assert case.budget.allows(exact_ebops(case.model))


def test_the_report_tells_every_look(allocated):
    case = allocated.again()
    events = []
    report = finetune(
        case.model,
        case.clone,
        open_source(case.x),
        logits=(True,),
        settings=FinetuneSettings(steps=STEPS, batch_size=32, evaluations=5, width_steps=0.6),
        settle=case.settle,
        budget=case.budget,
        progress=events.append,
    ).report
    assert report.width_steps == 24
    assert [look.stage for look in report.looks] == ["start", *["widths"] * 3, *["weights"] * 2]
    assert [look.step for look in report.looks] == [0, 8, 16, 24, 32, 40]
    assert report.losses == tuple((look.step, look.loss) for look in report.looks)
    assert all(isinstance(look.ebops, int) for look in report.looks)
    best = min((look for look in report.looks if case.budget.allows(look.ebops)), key=lambda look: look.loss)
    assert (report.best_step, report.loss) == (best.step, best.loss)
    assert exact_ebops(case.model) == best.ebops
    assert not report.collapses
    assert (report.samples, report.holdout) == (360, 40)
    assert [event.done for event in events] == list(range(1, STEPS + 1))
    assert {event.stage for event in events} == {"finetune"}


def test_the_loss_told_is_the_loss_of_what_is_left(allocated):
    """A second run looks first at what the first one left: the same loss, the same EBOPs."""
    case = allocated.again()
    report = train(case)
    left = exact_ebops(case.model)
    again = train(case, steps=1)
    assert (again.looks[0].loss, again.looks[0].ebops) == (report.loss, left)


def test_the_same_seed_gives_the_same_weights(allocated):
    one, two, other = allocated.again(), allocated.again(), allocated.again()
    reports = [train(one), train(two)]
    assert reports[0] == reports[1]
    for a, b in zip(values(one.model), values(two.model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert train(other, seed=5).losses != reports[0].losses


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"width_rate": 0.02}, "width_rate would do nothing"),
        (
            {"width_gradient_part": 4, "stochastic_rounding": True},
            "stochastic_rounding and width_gradient_part",
        ),
        ({"width_steps": 0.5, "finetune_steps": 0}, "width_steps=0.5"),
    ],
)
def test_how_widths_are_trained_is_no_matter_without_a_budget(settings, named):
    model = mlp()
    with pytest.raises(RuleError, match=named):
        hgqify.convert(model, samples(model), progress=no_progress, **settings)


def test_the_same_conversion_twice():
    one, two = (convert(mlp, 5000, seed=seed) for seed in (3, np.int64(3)))
    for a, b in zip(values(one.model), values(two.model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.report.finetune == two.report.finetune


def assert_sound(case: Case, report: FinetuneReport, start: int) -> None:
    assert report.collapses
    assert {collapse.layer for collapse in report.collapses} <= {*case.budget.limits}
    assert [c.step for c in report.collapses] == sorted({c.step for c in report.collapses})
    assert report.loss <= report.start_loss
    assert LEAST_USE * start < exact_ebops(case.model) <= case.budget.target_ebops
    assert all(kernel.any() for kernel in kernels(case.model).values())
    assert_exact(case.model, lower(case.model))


def test_a_collapse_is_backed_off_and_reported(allocated):
    """A price far too high takes all bits of a layer: given back, told, and widths are trained on."""
    case = allocated.again()
    start = exact_ebops(case.model)
    report = train(case, dataclasses.replace(case.budget, price=0.1), steps=80, width_rate=0.3)
    assert_sound(case, report, start)
    widths = [look.step for look in report.looks if look.stage == "widths"]
    assert widths[-1] == report.width_steps == 64
    assert report.collapses[-1].step < 64


def test_collapses_without_end_leave_the_formats(allocated):
    """A price beyond all reason: widths stay as they were, weights are still trained."""
    case = allocated.again()
    start = exact_ebops(case.model)
    report = train(case, dataclasses.replace(case.budget, price=1e9), steps=80, width_rate=1.0)
    assert_sound(case, report, start)
    assert {look.stage for look in report.looks} == {"start", "weights"}


def test_interrupting_keeps_the_budget(allocated):
    case = allocated.again()

    def stop(event):
        if event.done == 25:
            raise KeyboardInterrupt

    report = finetune(
        case.model,
        case.clone,
        open_source(case.x),
        logits=(True,),
        settings=FinetuneSettings(steps=STEPS, batch_size=32, evaluations=8),
        settle=case.settle,
        budget=case.budget,
        progress=stop,
    ).report
    assert report.interrupted
    assert report.steps == report.width_steps == 25
    assert case.budget.allows(exact_ebops(case.model))
    assert report.loss <= report.start_loss
    assert_exact(case.model, lower(case.model))


def test_nothing_of_the_training_stays_in_the_model(allocated):
    case = allocated.again()
    constraints = [v.constraint for v in case.model.variables]
    trainable = [v.path for v in case.model.trainable_variables]
    clone = values(case.clone)
    train(case)
    assert not case.model.compiled
    assert [v.constraint for v in case.model.variables] == constraints
    assert [v.path for v in case.model.trainable_variables] == trainable
    for a, b in zip(clone, values(case.clone), strict=True):
        np.testing.assert_array_equal(a, b)
    for layer in case.linear:
        limits = case.budget.limits[layer.name]
        state, data = layer.kq.state(np.asarray(layer.kernel)), layer.iqs[0].state()
        live = data.k + data.i + data.f > 0
        assert (np.where(state.k + state.i + state.f > 0, state.i + state.f, 0) <= limits.kernel_bits).all()
        assert (np.where(live, data.f, -99).ravel() <= limits.data_f.ravel()).all()
        assert (np.where(live, data.i + data.f, 0).ravel() <= limits.data_bits.ravel()).all()
    assert len(quantized_layers(case.model)) == len(quantized_layers(allocated.model))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_steps_of_one_stage(allocated, share):
    case = allocated.again()
    report = train(case, width_steps=share)
    assert report.steps == STEPS
    assert report.width_steps == share * STEPS
    stages = {look.stage for look in report.looks[1:]}
    assert stages == ({"widths"} if share else {"weights"})
    assert case.budget.allows(exact_ebops(case.model))


@pytest.fixture(scope="module")
def trained():
    """A model that has learned something, its data and labels."""
    model = mlp()
    x = samples(model, 2000)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 0.3)
    trainer = keras.Model(model.inputs, model.outputs)
    trainer.compile("adam", "sparse_categorical_crossentropy")
    trainer.fit(x, y, epochs=20, verbose=0)
    return model, x, y


@pytest.mark.parametrize("labelled", [False, True])
def test_a_drop_is_kept_at_fewer_ebops(trained, labelled):
    """Training goes on from the fewest EBOPs that allocation finds; what it says is lost is lost, no more."""
    model, x, y = trained
    taught = model.predict_on_batch(x).argmax(axis=1)
    truth = y if labelled else taught
    result = hgqify.convert(
        model, x, labels=y if labelled else None, max_drop=2.0, finetune_steps=400, progress=no_progress
    )
    report = result.report.finetune
    start = result.report.allocation["ebops"]
    assert report["looks"][0]["ebops"] == start
    assert result.report.ebops == exact_ebops(result.model)
    # Nearly every class of the float model kept is a goal that leaves little to save.
    assert result.report.ebops <= (0.9 if labelled else 1) * start
    found = result.model.predict_on_batch(x).argmax(axis=1)
    lost = 100 * (np.mean(taught == truth) - np.mean(found == truth))
    assert round(lost, 6) <= round(report["lost"], 6) <= 2.0
    assert_exact(result.model, result.program)
    assert len(result.archive.front) > 1
    assert result.at(start).report.ebops <= start
