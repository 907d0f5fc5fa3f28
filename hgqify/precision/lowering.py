"""What lowering functions are given: the program under construction, and the registry they stand in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from hgqify.errors import HgqifyError, PrecisionError, RuleError, UnsupportedLayerError
from hgqify.precision.ops import Input, Op, Quantize, Transpose
from hgqify.precision.program import Kept, Node, Program
from hgqify.quantizers import Quantizer

# Words a C++ compiler or the generated project may not take as a variable's name.
_WORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected public register reinterpret_cast return short signed sizeof static
    static_assert static_cast struct switch template this thread_local throw true try typedef typeid
    typename union unsigned using virtual void volatile wchar_t while xor xor_eq
    input output main std nnet hls ap_fixed ap_ufixed ap_int ap_uint model config data weight bias"""
# hls4ml keeps a layer's result among the layer's attributes, under the layer's name.
_ATTRIBUTES = """accum_t activ_param activation algorithm align_corners axis bias bias_data bias_t
    class_name config_cpp conv_implementation count_pad crop_bottom crop_left crop_right crop_top
    data_format data_reader depth depth_multiplier depthwise depthwise_data depthwise_t dim direction
    equation expression filt_height filt_width function_cpp fusible has_high has_low height high
    high_type implementation in_height in_width include_header index index_t inp0_shape inp1_shape
    inp_shape input_layers input_shape inputs layer_list line_buffer_codegen low low_type lut_functions
    mask_fn_codegen mask_kbi n_chan n_filt n_in n_out n_partitions name narrow op out_height out_shape
    out_width output_layers output_shape outputs overrides pad_bottom pad_left pad_right pad_top
    parallelization_factor param param_t perm perm_str pointwise pointwise_t pool_height pool_op
    pool_width precision result_t reuse_factor rounding_mode scale scale_data scale_t shape shift shift_t
    signed size slope slope_t strategy stride_height stride_width table table_data table_size table_t
    target_cycles target_shape trace use_beta use_gamma value weight weight_data weight_t width"""
_RESERVED = frozenset((*_WORDS.split(), *_ATTRIBUTES.lower().split()))


def identifier(name: str, taken: set[str]) -> str:
    """A C identifier close to ``name``, distinct from ``taken`` even without regard to case; adds it."""
    base = re.sub(r"_+", "_", re.sub(r"[^0-9A-Za-z]", "_", name)).strip("_") or "layer"
    if base[0].isdigit() or base.lower() in _RESERVED:
        base = f"l_{base}"
    candidate, number = base, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{base}_{number}"
    taken.add(candidate.lower())
    return candidate


class Lowering:
    """A program under construction."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.quantizers: dict[str, Quantizer] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._real: set[str] = set()
        self._taken: set[str] = set()
        self._kept: dict[str, Kept] = {}

    def add(
        self, path: str, op: Op, inputs: tuple[str, ...], shape: tuple[int, ...], *, name: str = ""
    ) -> str:
        """Appends a node; returns its name.

        Args:
            path: of the Keras layer.
            op, inputs, shape: of the node.
            name: wish for its name; the layer's path by default.

        Raises:
            PrecisionError: a real model input where codes are needed.
        """
        if not isinstance(op, Quantize) and any(source in self._real for source in inputs):
            raise PrecisionError(
                "a real model input reaches this layer without being quantized",
                where=path,
                received=type(op).__name__,
                remedy="put a Quantize layer directly after the input, or give this layer an input quantizer",
            )
        unique = identifier(name or path, self._taken)
        shape = tuple(int(size) for size in shape)
        self.nodes.append(Node(name=unique, op=op, inputs=inputs, shape=shape, layer=path))
        self._shapes[unique] = shape
        if isinstance(op, Input):
            self._real.add(unique)
        return unique

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a node's output, without the batch axis."""
        return self._shapes[name]

    def is_real(self, name: str) -> bool:
        """Whether a node holds real numbers, not codes."""
        return name in self._real

    def keep(self, path: str, kind: str, reads: tuple[str, ...]) -> None:
        """Notes a layer that stays in float; `given` tells what it gives."""
        self._kept[path] = Kept(layer=path, kind=kind, reads=reads, gives=())

    def given(self, path: str, shape: tuple[int, ...], name: str) -> str:
        """Appends the input that stands for the next output of a layer that stays in float."""
        node = self.add(path, Input(), (), shape, name=name)
        self._kept[path] = replace(self._kept[path], gives=(*self._kept[path].gives, node))
        return node

    def program(self, inputs: tuple[str, ...], outputs: tuple[str, ...], name: str) -> Program:
        """The finished program, without bounds; cut at the layers that stay in float."""
        read = {source for node in self.nodes for source in node.inputs}
        kept = tuple(self._kept.values())
        left = dict.fromkeys(name for layer in kept for name in layer.reads if name not in self._real)
        return Program(
            nodes=tuple(self.nodes),
            inputs=(*inputs, *(name for layer in kept for name in layer.gives if name in read)),
            outputs=(*outputs, *left),
            name=identifier(name, set()),
            kept=kept,
        )


class LayerLowering:
    """One call of one layer: what a lowering function works with.

    Attributes:
        layer: the Keras layer.
        path: its path in the model.
        inputs: names of the nodes it reads.
        shape: of its output, without the batch axis.
    """

    def __init__(
        self,
        lowering: Lowering,
        layer: keras.layers.Layer,
        *,
        path: str,
        name: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> None:
        self._lowering = lowering
        self._name = name
        self.layer: Any = layer
        self.path = path
        self.inputs = inputs
        self.shape = shape

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a node's output, without the batch axis."""
        return self._lowering.shape(name)

    def is_real(self, name: str) -> bool:
        """Whether a node holds real numbers, not codes."""
        return self._lowering.is_real(name)

    def add(self, op: Op, *inputs: str, shape: tuple[int, ...], role: str = "") -> str:
        """Appends a node; ``role`` tells a layer's nodes apart, the main one has none."""
        name = f"{self._name}_{role}" if role else self._name
        return self._lowering.add(self.path, op, inputs, shape, name=name)

    def quantize(self, source: str, quantizer: Quantizer | None, role: str) -> str:
        """Appends the quantizer on an edge, if there is one.

        Raises:
            PrecisionError: the quantizer is off, or has no format yet.
        """
        if quantizer is None:
            return source
        try:
            state = quantizer.state()
        except PrecisionError as error:
            raise PrecisionError(
                error.what, where=f"{self.path} ({role})", received=error.received, remedy=error.remedy
            ) from error
        k, i, f = (np.asarray(part, np.int64) for part in (state.k, state.i, state.f))
        digits = None if state.digits is None else np.asarray(state.digits, np.int64)
        op = Quantize(k=k, i=i, f=f, rounding=state.rounding, overflow=state.overflow, digits=digits)
        name = self.add(op, source, shape=self.shape_of(source), role=role)
        self._lowering.quantizers[name] = quantizer
        return name

    def quantized_inputs(self) -> tuple[str, ...]:
        """The inputs behind the layer's own input quantizers."""
        iqs = list(getattr(self.layer, "iqs", ()))
        if not iqs:
            return self.inputs
        roles = ["iq"] if len(iqs) == 1 else [f"iq{n}" for n in range(len(iqs))]
        return tuple(
            self.quantize(source, iq, role) for source, iq, role in zip(self.inputs, iqs, roles, strict=True)
        )

    @property
    def _channels_first(self) -> bool:
        return getattr(self.layer, "data_format", None) == "channels_first"

    def to_last(self, name: str) -> str:
        """A tensor in the layer's own layout with the channels moved behind the other axes."""
        shape = self.shape_of(name)
        if not self._channels_first or len(shape) < 2:
            return name
        perm = (*range(1, len(shape)), 0)
        return self.add(Transpose(perm=perm), name, shape=(*shape[1:], shape[0]), role="last")

    def from_last(self, name: str) -> str:
        """The inverse of `to_last`."""
        shape = self.shape_of(name)
        if not self._channels_first or len(shape) < 2:
            return name
        perm = (len(shape) - 1, *range(len(shape) - 1))
        return self.add(Transpose(perm=perm), name, shape=(shape[-1], *shape[:-1]), role="first")

    @property
    def shape_last(self) -> tuple[int, ...]:
        """Shape of the layer's output with the channels last."""
        if not self._channels_first or len(self.shape) < 2:
            return self.shape
        channels, *space = self.shape
        return (*space, channels)


LoweringFunction = Callable[[LayerLowering], str]
"""Appends a layer's nodes (input and output quantizers included) and returns the name of its result."""


class Registry:
    """Which function lowers which layer class; looked up by exact class, as a subclass may compute else."""

    def __init__(self, functions: Mapping[type, LoweringFunction] | None = None) -> None:
        self._functions: dict[type, LoweringFunction] = dict(functions or {})

    def register(self, *classes: type) -> Callable[[LoweringFunction], LoweringFunction]:
        """Decorator: the function lowers these layer classes.

        Raises:
            RuleError: a class that is registered already (make a `copy` and use `override`).
        """

        def decorate(function: LoweringFunction) -> LoweringFunction:
            for layer_class in classes:
                if layer_class in self._functions:
                    raise RuleError(
                        "this layer class has a lowering already",
                        received=layer_class.__name__,
                        remedy="use override() on a copy of the registry",
                    )
                self._functions[layer_class] = function
            return function

        return decorate

    def override(self, layer_class: type, function: LoweringFunction) -> None:
        """Sets the function of a class, whether it had one or not."""
        self._functions[layer_class] = function

    def find(self, layer_class: type) -> LoweringFunction | None:
        """The function for a class, or None."""
        return self._functions.get(layer_class)

    def copy(self) -> Registry:
        """An independent registry with the same entries."""
        return Registry(self._functions)


def refused(problems: list[HgqifyError]) -> UnsupportedLayerError:
    """One error that names all layers."""
    if len(problems) == 1:
        first = problems[0]
        return UnsupportedLayerError(
            first.what, where=first.where, received=first.received, remedy=first.remedy
        )
    return UnsupportedLayerError(
        f"{len(problems)} layers have no exact integer form:\n  " + "\n  ".join(map(str, problems))
    )
