"""`ParetoArchive` and `TrainingProgress` in plain `keras.Model.fit`."""

import io

import keras
import numpy as np
import pytest

from hgqify.errors import BudgetError, ExportError, RuleError
from hgqify.finetune import Archive, ArchiveFolder, BudgetController, ParetoArchive, TrainingProgress
from hgqify.layers import QDense, total_ebops
from hgqify.progress import TextProgress
from hgqify.quantizers import QuantizerConfig

RNG = np.random.default_rng(0)
X = RNG.normal(size=(320, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)


def model(seed=0, units=8, price=1e-5) -> keras.Model:
    keras.utils.set_random_seed(seed)
    options = {
        "enable_ebops": True,
        "beta0": price,
        "kq_conf": QuantizerConfig("kif", "weight", f0=5.3, homogeneous_axis=()),
        "iq_conf": QuantizerConfig("kif", "datalane", overflow_mode="WRAP", f0=5.2, homogeneous_axis=(0,)),
    }
    made = keras.Sequential(
        [keras.Input((6,)), QDense(units, activation="relu", name="a", **options), QDense(3, **options)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(optimizer=keras.optimizers.Adam(2e-2), loss=loss, metrics=["accuracy"])
    made(X, training=True)
    return made


def fit(made, *callbacks, epochs=6, validate=True, **options):
    data = {"validation_data": (X[256:], Y[256:])} if validate else {}
    return made.fit(
        X[:256],
        Y[:256],
        batch_size=64,
        epochs=epochs,
        callbacks=list(callbacks),
        verbose=0,
        **data,
        **options,
    ).history


class Note(keras.callbacks.Callback):
    """Weights and exact EBOPs at the end of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.seen.append((total_ebops(self.model), [np.array(v) for v in self.model.variables]))


def assert_same(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_entries_are_what_the_epochs_were():
    made, note, archive = model(), Note(), ParetoArchive(accuracy="accuracy")
    history = fit(made, note, archive, BudgetController(0.5 * total_ebops(made), ramp=16))
    front = archive.archive.front
    assert len(front) >= 2
    for entry in front:
        epoch = entry.step // 4 - 1
        ebops, weights = note.seen[epoch]
        assert entry.ebops == ebops
        assert_same(entry.weights, weights)
        assert entry.loss == history["val_loss"][epoch]
        assert entry.accuracy == 100 * history["val_accuracy"][epoch]
        assert entry.agreement is None
    # What is not there was no better than what is.
    for epoch, (ebops, _) in enumerate(note.seen):
        loss = history["val_loss"][epoch]
        assert any(entry.ebops <= ebops and entry.loss <= loss for entry in front)


def test_without_validation_data_it_is_the_loss():
    made, archive = model(), ParetoArchive(accuracy="accuracy")
    history = fit(made, archive, epochs=1, validate=False)
    (entry,) = archive.archive.front
    assert entry.loss == history["loss"][0]
    assert entry.accuracy == 100 * history["accuracy"][0]
    assert entry.step == 4


def test_the_best_within_a_budget_comes_back():
    made, archive = model(price=0.0), ParetoArchive()
    fit(made, epochs=40)  # from where fewer EBOPs cost something
    fit(made, archive, BudgetController(0.2 * total_ebops(made), ramp=40), epochs=10)
    front = archive.archive.front
    assert len(front) >= 3
    fewest, middle = front[0], front[len(front) // 2]
    assert archive.restore(middle.ebops) is middle
    assert total_ebops(made) == middle.ebops
    assert_same(middle.weights, [np.array(v) for v in made.variables])
    np.testing.assert_allclose(made.evaluate(X[256:], Y[256:], verbose=0)[0], middle.loss, rtol=1e-6)
    # Into another model of the same layers; one EBOP less than the next entry has takes this one.
    other = model(seed=1)
    assert archive.restore(front[1].ebops - 1, other) is fewest
    assert total_ebops(other) == fewest.ebops
    # Restored weights are what training goes on from; entries are not touched by it.
    kept = [w.copy() for w in fewest.weights]
    fit(other, epochs=1)
    assert_same(kept, fewest.weights)


def test_what_cannot_be_restored_is_refused():
    made, archive = model(), ParetoArchive()
    with pytest.raises(BudgetError, match="Train first"):
        archive.restore(1e9)
    fit(made, archive, epochs=1)
    fewest = archive.archive.front[0].ebops
    with pytest.raises(BudgetError, match=f"[Tt]he fewest are {fewest:,}"):
        archive.restore(fewest - 1)
    wide = model(units=9)
    before = [np.array(v) for v in wide.variables]
    with pytest.raises(BudgetError, match="same layers"):
        archive.restore(1e9, wide)
    assert_same(before, [np.array(v) for v in wide.variables])
    with pytest.raises(BudgetError, match="Give restore a model"):
        ParetoArchive(archive.archive).restore(1e9)


def test_an_archive_of_another_limit_goes_on():
    """The archive's own settings count; a second fit adds to the first, its steps too."""
    archive = ParetoArchive(Archive(limit=3))
    made = model()
    fit(made, archive, BudgetController(0.4 * total_ebops(made), ramp=24), epochs=8)
    assert len(archive.archive.front) <= 3
    made.optimizer.learning_rate = 0.0
    made.get_layer("a").kernel.assign(made.get_layer("a").kernel * 0)
    fit(made, archive, epochs=1)
    assert max(entry.step for entry in archive.archive.front) == 36


def test_entries_are_stored_and_taken_up_again(tmp_path):
    folder = tmp_path / "archive"
    made, archive = model(), ParetoArchive(folder=ArchiveFolder(folder, {"model": "one"}))
    fit(made, archive, BudgetController(0.4 * total_ebops(made), ramp=24), epochs=6)
    front = archive.archive.front
    assert sorted(path.stem for path in folder.glob("*.npz")) == sorted(entry.name for entry in front)
    again = ParetoArchive(folder=ArchiveFolder(folder, {"model": "one"}))
    assert [entry.name for entry in again.archive.front] == [entry.name for entry in front]
    other = model(seed=1)
    chosen = again.restore(front[-1].ebops, other)
    assert_same(chosen.weights, front[-1].weights)
    assert total_ebops(other) == front[-1].ebops
    fit(other, again, epochs=1)
    assert again.archive.front
    with pytest.raises(ExportError, match="another training"):
        ArchiveFolder(folder, {"model": "two"})


def test_a_loss_that_is_no_number_is_never_kept():
    made, archive = model(), ParetoArchive()
    made.get_layer("a").bias.assign(np.full(8, np.nan))
    fit(made, archive, epochs=1)
    assert archive.archive.front == ()


def test_unknown_metrics_and_models_without_ebops_are_refused():
    with pytest.raises(RuleError, match="accuracy"):
        fit(model(), ParetoArchive(accuracy="auc"), epochs=1)
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    plain.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(BudgetError, match="counts EBOPs"):
        fit(plain, ParetoArchive(), epochs=1)


def test_progress_hears_of_every_step():
    made, events = model(), []
    history = fit(made, TrainingProgress(events.append, every=3), epochs=3)
    assert [(event.stage, event.done, event.total) for event in events] == [
        ("fit", done, 12) for done in range(1, 13)
    ]
    assert [event.values["loss"] for event in events][3::4] == pytest.approx(history["loss"])
    counted = [event.values["EBOPs"] for event in events]
    assert counted[0] == counted[1] > 0
    # Looked at in steps 1, 3, 6, 9 and 12, and only then.
    assert all(counted[n] == counted[n - 1] for n in (1, 3, 4, 6, 7, 9, 10))
    assert len(set(counted)) > 1
    assert not any(event.milestone for event in events)


def test_progress_of_a_part_of_the_epochs():
    events = []
    fit(model(), TrainingProgress(events.append), epochs=5, initial_epoch=3)
    assert [(event.done, event.total) for event in events] == [(n, 8) for n in range(1, 9)]


def test_progress_says_when_training_stops_early():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None) -> None:
            self.model.stop_training = True

    events, stream = [], io.StringIO()
    show = TextProgress(stream)

    def both(event) -> None:
        events.append(event)
        show(event)

    progress = TrainingProgress(both)
    fit(model(), progress, Stop(), epochs=5)
    assert [event.done for event in events] == [1, 2, 3, 4, 4]
    assert [event.milestone for event in events] == [False] * 4 + [True]
    assert stream.getvalue().splitlines()[-1].startswith("fit  4/20 steps  loss ")
    # A second fit counts anew.
    fit(model(), progress, epochs=1)
    assert [event.done for event in events[5:]] == [1, 2, 3, 4]


def test_progress_of_a_model_without_prices():
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    plain.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    events = []
    fit(plain, TrainingProgress(events.append), epochs=1)
    assert [set(event.values) for event in events] == [{"loss"}] * 4


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_every_is_a_number_of_steps(every):
    with pytest.raises(RuleError, match="whole number"):
        TrainingProgress(print, every=every)
