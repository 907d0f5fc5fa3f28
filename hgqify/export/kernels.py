"""The kernels hls4ml lacks, registered through its extension interface.

Clipping to constant bounds (relu6, hard tanh, relu with a maximum), matrix products of tensors, a table for
every edge of a layer, regrouping a stream into packs of another size, and lookup tables where numbers are
``ac_fixed``. The headers travel with every project, so a written project builds without hgqify.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from hgqify.export.backends import BACKENDS

_CLIP_CONFIG = """struct config{index} : nnet::clip_config {{
    static const unsigned n_in = {n_in};
    static const bool has_low = {has_low};
    static const bool has_high = {has_high};
    static const {low_type} low;
    static const {high_type} high;
}};
const {low_type} config{index}::low = {low};
const {high_type} config{index}::high = {high};\n"""

_TABLE_CONFIG = """struct config{index} {{
    static const unsigned n_in = {n_in};
}};\n"""

_EDGES_CONFIG = """struct config{index} {{
    static const unsigned n_in = {n_in};
    static const unsigned tables = {tables};
    static const unsigned size = {size};
    static const unsigned shifts[{tables}];
    static const unsigned masks[{tables}];
}};
const unsigned config{index}::shifts[{tables}] = {{{shifts}}};
const unsigned config{index}::masks[{tables}] = {{{masks}}};\n"""

_MATMUL_CONFIG = """struct config{index} {{
    static const unsigned groups = {groups};
    static const unsigned rows = {rows};
    static const unsigned columns = {columns};
    static const unsigned summed = {summed};
    typedef {accum_t.name} accum_t;
}};\n"""

_INCLUDE = ["nnet_utils/nnet_hgqify.h"]
_FOLDER = Path(__file__).parent / "firmware"


@cache
def register(backend: str) -> None:
    """Make our layers known to an hls4ml backend; safe to call again."""
    from hls4ml.backends import get_backend
    from hls4ml.model.layers import layer_map, register_layer

    layers = {
        "HgqifyClip": _clip_layer(),
        "HgqifyEdgeTables": _edges_layer(),
        "HgqifyMatmul": _matmul_layer(),
        "HgqifyRegroup": _regroup_layer(),
        "HgqifyTable": _table_layer(),
    }
    for name, layer in layers.items():
        if name not in layer_map:
            register_layer(name, layer)
    target = get_backend(backend)
    for template in _templates():
        target.register_template(template)
    for header in (_FOLDER / "nnet_hgqify.h", _FOLDER / BACKENDS[backend].kernels / "nnet_hgqify_dialect.h"):
        target.register_source(header)


def _function(name: str, node: Any) -> str:
    """A kernel for arrays has a sister for streams: the stream's type differs between the dialects."""
    streams = node.model.config.get_config_value("IOType") == "io_stream"
    return f"nnet::{name}_stream" if streams else f"nnet::{name}"


def _templates() -> tuple[type, ...]:
    """hls4ml's templates of our layers; it names a template by its class."""
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate

    class HgqifyClipConfig(LayerConfigTemplate):
        def __init__(self) -> None:
            super().__init__(_clip_layer())

        def format(self, node: Any) -> str:
            params = self._default_config_params(node)
            params["has_low"] = "true" if params["has_low"] else "false"
            params["has_high"] = "true" if params["has_high"] else "false"
            return _CLIP_CONFIG.format(**params)

    class HgqifyClipCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(_clip_layer(), include_header=_INCLUDE)

        def format(self, node: Any) -> str:
            call = "{function}<{input_t}, {output_t}, {config}>({input}, {output});"
            return call.format(function=_function("clip", node), **self._default_function_params(node))

    class HgqifyRegroupCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(_regroup_layer(), include_header=_INCLUDE)

        def format(self, node: Any) -> str:
            call = "nnet::regroup_stream<{input_t}, {output_t}, {size}>({input}, {output});"
            return call.format(**self._default_function_params(node))

    class HgqifyTableConfig(LayerConfigTemplate):
        def __init__(self) -> None:
            super().__init__(_table_layer())

        def format(self, node: Any) -> str:
            return _TABLE_CONFIG.format(**self._default_config_params(node))

    class HgqifyTableCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(_table_layer(), include_header=_INCLUDE)

        def format(self, node: Any) -> str:
            params = self._default_function_params(node) | {"table": node.get_weights("table").name}
            call = "{function}<{input_t}, {output_t}, {config}>({input}, {output}, {table});"
            return call.format(function=_function("lookup", node), **params)

    class HgqifyEdgeTablesConfig(LayerConfigTemplate):
        def __init__(self) -> None:
            super().__init__(_edges_layer())

        def format(self, node: Any) -> str:
            return _EDGES_CONFIG.format(**self._default_config_params(node))

    class HgqifyEdgeTablesCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(_edges_layer(), include_header=_INCLUDE)

        def format(self, node: Any) -> str:
            params = self._default_function_params(node) | {"table": node.get_weights("table").name}
            call = "nnet::edge_tables<{input_t}, {output_t}, {config}>({input}, {output}, {table});"
            return call.format(**params)

    class HgqifyMatmulConfig(LayerConfigTemplate):
        def __init__(self) -> None:
            super().__init__(_matmul_layer())

        def format(self, node: Any) -> str:
            return _MATMUL_CONFIG.format(**self._default_config_params(node))

    class HgqifyMatmulCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(_matmul_layer(), include_header=_INCLUDE)

        def format(self, node: Any) -> str:
            params = self._default_function_params(node)
            for number, name in enumerate(node.inputs, start=1):
                variable = node.get_input_variable(name)
                params |= {f"input{number}": variable.name, f"input{number}_t": variable.type.name}
            call = "nnet::matmul<{input1_t}, {input2_t}, {output_t}, {config}>({input1}, {input2}, {output});"
            return call.format(**params)

    return (
        HgqifyClipConfig,
        HgqifyClipCall,
        HgqifyEdgeTablesConfig,
        HgqifyEdgeTablesCall,
        HgqifyMatmulConfig,
        HgqifyMatmulCall,
        HgqifyRegroupCall,
        HgqifyTableConfig,
        HgqifyTableCall,
    )


@cache
def _clip_layer() -> type:
    from hls4ml.model.attributes import Attribute
    from hls4ml.model.layers import Layer

    class HgqifyClip(Layer):
        """Clipping to constant bounds."""

        _expected_attributes: ClassVar = [
            Attribute("n_in"),
            Attribute("low", value_type=float),
            Attribute("high", value_type=float),
        ]

        def initialize(self) -> None:
            self.add_output_variable(self.get_input_variable().shape)

    return HgqifyClip


@cache
def _regroup_layer() -> type:
    from hls4ml.model.attributes import Attribute
    from hls4ml.model.layers import Layer

    class HgqifyRegroup(Layer):
        """The elements of a stream in packs of another size."""

        _expected_attributes: ClassVar = [Attribute("size")]

        def initialize(self) -> None:
            self.add_output_variable(self.attributes["target_shape"])

    return HgqifyRegroup


@cache
def _table_layer() -> type:
    from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
    from hls4ml.model.layers import Layer

    class HgqifyTable(Layer):
        """A table addressed by the raw bits of its input."""

        _expected_attributes: ClassVar = [Attribute("n_in"), TypeAttribute("table"), WeightAttribute("table")]

        def initialize(self) -> None:
            self.add_output_variable(self.get_input_variable().shape)
            self.add_weights_variable(name="table")

    return HgqifyTable


@cache
def _edges_layer() -> type:
    from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
    from hls4ml.model.layers import Layer

    class HgqifyEdgeTables(Layer):
        """A table for every edge, addressed by some of the raw bits of its input."""

        _expected_attributes: ClassVar = [
            Attribute("n_in"),
            Attribute("tables"),
            Attribute("size"),
            Attribute("shifts", value_type=str),
            Attribute("masks", value_type=str),
            TypeAttribute("table"),
            WeightAttribute("table"),
        ]

        def initialize(self) -> None:
            self.add_output_variable(self.get_input_variable().shape)
            self.add_weights_variable(name="table")

    return HgqifyEdgeTables


@cache
def _matmul_layer() -> type:
    from hls4ml.model.attributes import Attribute, TypeAttribute
    from hls4ml.model.layers import Layer

    class HgqifyMatmul(Layer):
        """A batch of matrix products of two tensors."""

        _expected_attributes: ClassVar = [
            Attribute("groups"),
            Attribute("rows"),
            Attribute("columns"),
            Attribute("summed"),
            TypeAttribute("accum"),
        ]

        def initialize(self) -> None:
            self.add_output_variable([self.attributes[size] for size in ("groups", "rows", "columns")])

    return HgqifyMatmul
