"""What cannot be exported is refused before anything is written, with the place and a remedy."""

import export_programs as programs
import numpy as np
import pytest

from hgqify.errors import ExportError
from hgqify.export.csim import read_layout
from hgqify.export.options import ProjectOptions
from hgqify.export.printing import print_program
from hgqify.precision.lowering import identifier
from hgqify.precision.ops import Clip, Input, MaxPool


def test_formats_per_element_cannot_be_streamed():
    with pytest.raises(ExportError, match=r"net/b1: io_stream needs one format.*Calibrate with"):
        print_program(programs.meetings(), "io_stream")


def test_every_problem_is_listed_at_once():
    b = programs.Builder()
    b("x", Input(), "", (4, 4, 4, 2))
    b("xq", programs.quantize(1, 2, 5), "x", (4, 4, 4, 2))
    b("conv", b.window((2, 2, 2, 2, 3)), "xq", (3, 3, 3, 3))
    b("pool", MaxPool(window=(3, 3, 3), strides=(3, 3, 3), padding=((0, 0),) * 3), "conv", (1, 1, 1, 3))
    b("out", programs.quantize(1, 3, 4), "pool", (1, 1, 1, 3))
    with pytest.raises(ExportError, match=r"2 operation\(s\) cannot be exported") as caught:
        print_program(b.program("out"), "io_parallel")
    assert "net/conv" in str(caught.value)
    assert "net/pool" in str(caught.value)


def test_overlapping_windows_cannot_be_streamed():
    with pytest.raises(ExportError, match=r"net/pool: hls4ml streams pool only in windows"):
        print_program(programs.shapes(), "io_stream")


def test_streams_are_copied_seven_times_at_most():
    with pytest.raises(
        ExportError, match=r"net/q: hls4ml copies a stream at most 7 times; received: 8 readers"
    ):
        print_program(programs.crowded(4), "io_stream")
    assert print_program(programs.crowded(3), "io_stream").layers


def test_modes_on_one_input_that_cannot_be_combined():
    b = programs.Builder()
    b("x", Input(), "", (3,))
    b("a", programs.quantize(1, 2, 3, "RND", "SAT"), "x", (3,))
    b("b", programs.quantize(1, 2, 3, "RND", "WRAP"), "x", (3,))
    with pytest.raises(ExportError, match="their modes cannot be combined"):
        print_program(b.program("a", "b"), "io_parallel")


def test_wrap_sm():
    def program(rounding, f):
        b = programs.Builder()
        b("x", Input(), "", (3,))
        b("q", programs.quantize(1, 2, np.asarray(f), rounding, "WRAP_SM"), "x", (3,))
        return b.program("q")

    with pytest.raises(ExportError, match="no type that wraps as WRAP_SM"):
        print_program(program("TRN", 3), "io_stream")
    with pytest.raises(ExportError, match="RND/WRAP_SM"):
        print_program(program("RND", [1, 2, 3]), "io_parallel")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"io_type": "serial"}, "unknown io_type"),
        ({"backend": "Vivaldi"}, "unknown backend"),
        ({"strategy": "Foo"}, "unknown strategy"),
        ({"layers": {"conv": {"ReuseFactor": 0}}}, "conv: reuse_factor is a whole number"),
        ({"project_name": "my project"}, "name of a C\\+\\+ function"),
    ],
)
def test_unknown_settings(settings, message):
    with pytest.raises(ExportError, match=message):
        ProjectOptions(**settings)


def test_types_cannot_be_overridden():
    with pytest.raises(ExportError, match=r"layers\.conv: types cannot be overridden"):
        ProjectOptions(layers={"conv": {"Precision": {"accum": "ap_fixed<8,4>"}}})


def test_a_folder_that_is_no_project(tmp_path):
    with pytest.raises(ExportError, match="not a project written by hgqify"):
        read_layout(tmp_path)


def test_always_zero_tensor():
    b = programs.Builder()
    b("x", Input(), "", (3,))
    b("xq", programs.quantize(1, 2, 3), "x", (3,))
    b("relu", Clip(low=programs.scalar(0), high=None), "xq", (3,))
    b("zero", programs.quantize(np.int64(0), np.int64(0), np.int64(0)), "relu", (3,))
    with pytest.raises(ExportError, match="an always-zero tensor"):
        print_program(b.program("zero"), "io_stream")
    assert [s.kind for s in print_program(b.program("zero"), "io_parallel").layers][
        -1
    ] == "FixedPointQuantizer"


def test_no_layer_is_called_as_an_attribute_of_hls4ml():
    """hls4ml keeps a layer's result among the layer's attributes, under the layer's name."""
    from hls4ml.backends import get_backend
    from hls4ml.model.layers import layer_map

    get_backend("Vitis")
    kinds, attributes = set(), set()
    for name in ("separable", "merging", "shapes", "meetings", "both_depthwise"):
        for spec in print_program(getattr(programs, name)(), "io_parallel").layers:
            kinds.add(spec.kind)
            attributes |= spec.attributes.keys() - {"table_type"}  # it becomes table_t
    for kind in kinds & layer_map.keys():
        attributes |= {attribute.name for attribute in layer_map[kind].expected_attributes}
    assert {"activation", "n_in", "trace"} <= attributes
    assert [name for name in sorted(attributes) if identifier(name, set()) == name.lower()] == []
