"""The kernels hls4ml lacks, registered through its extension interface.

Clipping to constant bounds (relu6, hard tanh, relu with a maximum), and regrouping a stream into packs of
another size. The header travels with every project, so a written project builds without hgqify.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

_CONFIG = """struct config{index} : nnet::clip_config {{
    static const unsigned n_in = {n_in};
    static const bool has_low = {has_low};
    static const bool has_high = {has_high};
    static const {low_type} low;
    static const {high_type} high;
}};
const {low_type} config{index}::low = {low};
const {high_type} config{index}::high = {high};\n"""

_CALL = "nnet::clip<{input_t}, {output_t}, {config}>({input}, {output});"
_REGROUP_CALL = "nnet::regroup_stream<{input_t}, {output_t}, {size}>({input}, {output});"

HEADER = Path(__file__).parent / "firmware" / "nnet_hgqify.h"


@cache
def register(backend: str) -> None:
    """Make our layers known to an hls4ml backend; safe to call again."""
    from hls4ml.backends import get_backend
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
    from hls4ml.model.layers import layer_map, register_layer

    clip_layer = _clip_layer()
    if "HgqifyClip" not in layer_map:
        register_layer("HgqifyClip", clip_layer)
    regroup_layer = _regroup_layer()
    if "HgqifyRegroup" not in layer_map:
        register_layer("HgqifyRegroup", regroup_layer)

    class HgqifyClipConfig(LayerConfigTemplate):
        def __init__(self) -> None:
            super().__init__(clip_layer)

        def format(self, node: object) -> str:
            params = self._default_config_params(node)
            params["has_low"] = "true" if params["has_low"] else "false"
            params["has_high"] = "true" if params["has_high"] else "false"
            return _CONFIG.format(**params)

    class HgqifyClipCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(clip_layer, include_header=["nnet_utils/nnet_hgqify.h"])

        def format(self, node: object) -> str:
            return _CALL.format(**self._default_function_params(node))

    class HgqifyRegroupCall(FunctionCallTemplate):
        def __init__(self) -> None:
            super().__init__(regroup_layer, include_header=["nnet_utils/nnet_hgqify.h"])

        def format(self, node: object) -> str:
            return _REGROUP_CALL.format(**self._default_function_params(node))

    target = get_backend(backend)
    target.register_template(HgqifyClipConfig)
    target.register_template(HgqifyClipCall)
    target.register_template(HgqifyRegroupCall)
    target.register_source(HEADER)


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
