"""What a report gathers: the graph of a program, histograms, outcomes."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

import hgqify
from hgqify.gather import network, outcomes, weight_histogram, width_counts
from hgqify.gather.histograms import BINS, mean_width
from hgqify.gather.outcomes import MOST_CLASSES
from hgqify.progress import no_progress


@pytest.fixture(scope="module")
def shared() -> Any:
    """Of a model with a shared layer, between whose calls another one stands, and two outputs."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    dense = keras.layers.Dense(4, name="twice")
    y = dense(x)
    z = keras.layers.Activation("relu", name="between")(y)
    z = dense(z)
    model = keras.Model(x, [z, keras.layers.Dense(2, name="other")(y)])
    data = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    return hgqify.convert(model, data, finetune_steps=0, progress=no_progress)


def test_calls_of_a_shared_layer_are_nodes_of_their_own(shared: Any) -> None:
    graph = network(shared.program)
    names = [node["layer"] for node in graph["nodes"]]
    assert names.count("twice") == 2
    assert [name for name in names if name.startswith("output")] == ["output 0", "output 1"]
    by_id = {node["id"]: node["layer"] for node in graph["nodes"]}
    pairs = {(by_id[e["source"]], by_id[e["target"]]) for e in graph["edges"]}
    assert {("twice", "between"), ("between", "twice"), ("twice", "other")} <= pairs


def test_widths_of_edges_are_those_of_the_quantizers(shared: Any) -> None:
    graph = network(shared.program)
    by_id = {node["id"]: node["layer"] for node in graph["nodes"]}
    into = [e for e in graph["edges"] if by_id[e["target"]] == "other"]
    state = shared.model.get_layer("other").iq.state()
    total = np.maximum(state.k + state.i + state.f, 0)
    (edge,) = into
    assert edge["bits"][0] == total.min()
    assert edge["bits"][2] == total.max()
    assert edge["format"]["f"] == [state.f.min(), state.f.max()]
    exact = next(e for e in graph["edges"] if e["format"] is None)
    assert exact["bits"][0] >= 1


def test_graphs_that_are_too_large_are_drawn_by_layers_of_the_float_model(shared: Any) -> None:
    count = len(network(shared.program)["nodes"]) - 2  # outputs are added at last
    assert network(shared.program, most=count)["omitted"] == 0
    assert network(shared.program, most=5) == {"nodes": [], "edges": [], "omitted": count}
    origins = {node.layer: "all" for node in shared.program.nodes}
    graph = network(shared.program, origins, most=5)
    assert [node["layer"] for node in graph["nodes"]] == ["all", "output 0", "output 1"]


def test_width_counts() -> None:
    counts = width_counts([np.array([[3, 3], [0, -2]]), np.array(5)])
    assert counts == ((0, 2), (3, 2), (5, 1))
    assert mean_width(counts) == pytest.approx(11 / 5)
    assert width_counts([]) == ()
    assert mean_width(()) is None


def test_weight_histograms() -> None:
    weights = np.array([-1.0, 0.0, 0.0, 0.5])
    found = weight_histogram(weights, weights + 0.001)
    assert found is not None
    assert found["high"] == pytest.approx(1.0)
    assert len(found["counts"]) == BINS
    assert found["counts"][0] == 1
    assert found["counts"][BINS // 2] == 2
    assert sum(found["float_counts"]) == 4
    other = weight_histogram(weights, np.zeros(3))
    assert other is not None
    assert other["float_counts"] is None
    assert weight_histogram(np.zeros(3), None) is None


@dataclass(frozen=True)
class Given:
    floats: tuple[np.ndarray, ...]
    fixed: tuple[np.ndarray, ...]
    labels: np.ndarray | None = None


def test_confusion_against_labels_and_without() -> None:
    y = np.eye(3)[[0, 1, 2, 1]]
    q = np.eye(3)[[0, 1, 1, 1]]
    found = outcomes(Given((y,), (q,), np.array([0, 1, 2, 2])), [True])
    assert found is not None
    assert (found["kind"], found["against"]) == ("classes", "labels")
    assert found["quantized"] == [[1, 0, 0], [0, 1, 0], [0, 2, 0]]
    assert found["float"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    found = outcomes(Given((y,), (q,)), [True])
    assert found == {
        "kind": "classes", "against": "float model", "quantized": [[1, 0, 0], [0, 2, 0], [0, 1, 0]],
    }  # fmt: skip


@pytest.mark.parametrize("labels", [np.array([0, 7]), np.array([-1, 0]), np.array([0.5, 1.0])])
def test_labels_that_are_no_classes_are_left_out(labels: np.ndarray) -> None:
    y = np.eye(3)[[0, 1]]
    found = outcomes(Given((y,), (y,), labels), [True])
    assert found is not None
    assert found["against"] == "float model"


def test_too_many_classes_give_no_matrix() -> None:
    y = np.eye(MOST_CLASSES + 1)[:5]
    assert outcomes(Given((y,), (y,)), [True]) is None


def test_residuals() -> None:
    labels = np.arange(1000.0)
    y, q = labels[:, None] + 1.0, labels[:, None] - 2.0
    found = outcomes(Given((y,), (q,), labels), [False])
    assert found is not None
    assert (found["kind"], found["against"]) == ("numbers", "labels")
    assert (found["float_rms"], found["rms"], found["high"]) == (1.0, 2.0, 2.0)
    assert found["counts"][0] == 1000
    assert len(found["points"]) == 300
    assert found["points"][-1] == [999.0, 1.0, -2.0]
    found = outcomes(Given((y,), (q,)), [False])
    assert found is not None
    assert (found["against"], found["rms"], found["float_rms"]) == ("float model", 3.0, 0.0)
