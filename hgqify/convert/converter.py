"""From a canonical graph to a model of quantized layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import keras

from hgqify.convert import elementwise, embedding, keep, linear, recurrent, reductions, refusals, structure
from hgqify.convert.describe import describe
from hgqify.convert.edges import INPUT, Edges, quantize_edges
from hgqify.convert.late_division import LateDivision, share
from hgqify.convert.lower_discretization import LowerDiscretization
from hgqify.convert.lower_normalization import LowerNormalization, Rows, normalized_rows
from hgqify.convert.lower_softmax import LowerSoftmax
from hgqify.convert.parts import Exponents
from hgqify.convert.registry import Registry
from hgqify.convert.report import ConversionReport
from hgqify.convert.row_precision import with_row_precision
from hgqify.convert.rules import Rule, Target, first_rules, resolve
from hgqify.convert.settings import ConvertSettings, OverflowPolicy, SoftmaxPolicy, UnsupportedPolicy
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import (
    Graph,
    Node,
    assign_weights,
    build,
    canonicalize,
    float_factory,
    layer_key,
    layer_name,
)
from hgqify.graph.model import SELECT
from hgqify.layers import QBatchNormalization, QLayer, quantized_layers

Measure = Callable[[Graph, Sequence[Rows]], Mapping[str, tuple[int, int]]]
_BY_RULE = "a rule says so"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A quantizer on data, and the float tensors that stand for what it sees.

    Attributes:
        layer: Keras name of the layer that owns it.
        slot: index in the layer's `iqs`, or 'oq'.
        tensors: positions in the outputs of `Conversion.probe`; several for a layer called several times.
    """

    layer: str
    slot: int | str
    tensors: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A model of quantized layers and what the later stages need to set it up.

    Attributes:
        model: the quantized model; its widths are placeholders until calibration.
        clone: the same layers with every quantizer off: equals the float model up to rounding. Where the
            final softmax was moved to the host, both give logits.
        probe: float model whose outputs are the tensors that reach quantizers.
        sites: which quantizer sees which output of the probe.
        logits: for each model output, whether it lost a softmax (and so holds classification logits).
        report: what became of every layer.
        graph: the canonical float graph.
        proved: Keras names of the layers whose quantizers must never overflow (`OverflowPolicy.PROVED`).
        auto: those whose quantizers may be proved where that is cheaper (`OverflowPolicy.AUTO`).
        names: Keras name of the layer in `model` and `clone`, by `graph.layer_key` of its nodes.
        probe_names: the same in `probe`.
        kept: by Keras name of the layers that stay in float: why.
        ruled: for each rule that says how firmware is built, Keras names of the layers it is the first for.
    """

    model: keras.Model
    clone: keras.Model
    probe: keras.Model
    sites: tuple[Site, ...]
    logits: tuple[bool, ...]
    report: ConversionReport
    graph: Graph
    proved: frozenset[str] = frozenset()
    auto: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    probe_names: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    ruled: tuple[tuple[Rule, tuple[str, ...]], ...] = ()

    def with_graph(self, graph: Graph) -> Conversion:
        """The same conversion of a graph that differs in its weights only; all its models get them."""
        for node in graph:
            if node is self.graph[node.name]:
                continue
            key = layer_key(node)
            for model in (self.model, self.clone):
                layer = model.get_layer(self.names[key])
                _assign(layer, node)
                if isinstance(layer, QBatchNormalization):
                    layer.refresh()
            if key in self.probe_names:  # which lacks what no quantizer sees
                assign_weights(self.probe.get_layer(self.probe_names[key]), node)
        return dataclasses.replace(self, graph=graph)


def default_registry() -> Registry:
    """A new registry with the converters of all supported kinds."""
    families = (linear, elementwise, embedding, reductions, structure, recurrent, refusals)
    return Registry({kind: make for family in families for kind, make in family.converters().items()})


def plan(
    graph: Graph,
    settings: ConvertSettings | None = None,
    rules: Sequence[Rule] = (),
    *,
    registry: Registry | None = None,
    allow_code: bool = False,
) -> ConversionReport:
    """What a conversion would do to every layer, without doing it.

    Args:
        graph: a model as `graph.read` gives it.
        settings, rules, registry, allow_code: as for `convert`.

    Returns:
        The report; refused layers are entries in it, not errors.

    Raises:
        RuleError: a rule that matches nothing.
    """
    return _Planner(graph, settings, rules, registry, allow_code).report


def convert(
    graph: Graph,
    settings: ConvertSettings | None = None,
    rules: Sequence[Rule] = (),
    *,
    registry: Registry | None = None,
    allow_code: bool = False,
    measure: Measure | None = None,
) -> Conversion:
    """Make the quantized model of a graph, with the graph's float weights.

    Args:
        graph: a model as `graph.read` gives it; it is brought into canonical form first.
        settings: what to aim at; None for the defaults.
        rules: exceptions for some layers; the first that matches a layer wins.
        registry: converters by kind; None for `default_registry`.
        allow_code: layers that are Python code (Lambda) may be kept in float.
        measure: from the graph and rows of its normalizations to the sizes of those that differ so much that
            they must be scaled one by one (`calibrate.row_sizes` on some data); None scales none.

    Raises:
        UnsupportedLayerError: lists every refused layer with its remedy.
        RuleError: a rule that matches nothing, or settings that contradict each other.
    """
    planner = _Planner(graph, settings, rules, registry, allow_code)
    planner.report.raise_refused()
    rows = () if measure is None else normalized_rows(planner.graph)
    if measure is not None and rows and (sizes := measure(planner.graph, rows)):
        exponents = {key: Exponents(*size) for key, size in sizes.items()}
        planner = _Planner(graph, settings, rules, registry, allow_code, exponents)
    model = planner.build(quantize=True)
    tensors, sites = planner.sites(model)
    clone = planner.build(quantize=False)
    probe, probe_names = planner.probe(tensors)
    return Conversion(
        model=model,
        clone=clone,
        probe=probe,
        sites=sites,
        logits=planner.logits,
        report=planner.report,
        graph=planner.graph,
        proved=planner.layers_with(OverflowPolicy.PROVED),
        auto=planner.layers_with(OverflowPolicy.AUTO),
        names=planner.names,
        probe_names=probe_names,
        kept={planner.names[name]: reason for name, reason in planner.kept.items()},
        ruled=planner.ruled(rules),
    )


class _Planner:
    """One conversion: canonical graph, edges, targets, report."""

    def __init__(
        self,
        graph: Graph,
        settings: ConvertSettings | None,
        rules: Sequence[Rule],
        registry: Registry | None,
        allow_code: bool,
        sizes: Mapping[str, Exponents] | None = None,
    ) -> None:
        self.settings = ConvertSettings() if settings is None else settings
        self.registry = default_registry() if registry is None else registry
        refusals.refuse_quantized(graph)
        policy = self.settings.softmax
        canonical, events = canonicalize(graph, strip_softmax=policy is SoftmaxPolicy.LOGITS)
        late = LateDivision()(canonical)
        lowered = LowerSoftmax(final=policy is not SoftmaxPolicy.REFUSE)(late.graph)
        normal = LowerNormalization(sizes)(lowered.graph)
        bins = LowerDiscretization()(normal.graph)
        self.graph = bins.graph
        events = (*events, *late.events, *lowered.events, *normal.events, *bins.events)
        self.kept: dict[str, str] = {}
        self._unkept: dict[str, UnsupportedLayerError] = {}
        self._look(rules)
        if self._keep(allow_code):
            self._look(rules)
        self.report = describe(
            graph,
            self.edges,
            events,
            self.refusals,
            self.kept,
            {n.name: layer_name(n) for n in self.edges.graph},
        )
        removed = {event.layer for event in events if event.pass_name == "strip-output-softmax"}
        self.logits = tuple(any(path in removed for path in graph[name].origin) for name in graph.outputs)

    def _look(self, rules: Sequence[Rule]) -> None:
        """Place the quantizers around what is kept, and see which nodes have no quantized layer."""
        self.edges: Edges = quantize_edges(self.graph, self.kept)
        targets = resolve(self.edges.graph.nodes, rules, self.settings)
        self.targets: Mapping[str, Target] = with_row_precision(self.edges.graph, targets, rules)
        self.names: dict[str, str] = {}
        self.refusals: dict[str, UnsupportedLayerError] = {}
        for node in self.edges.graph:
            if node.kind == INPUT or (node.kind == SELECT and node.inputs[0] in self.kept):
                continue
            try:
                self._layer(node, quantize=True)
            except UnsupportedLayerError as error:
                self.refusals[node.name] = error

    def _keep(self, allow_code: bool) -> bool:
        """Decide what stays in float; False if nothing does."""
        wanted = {
            node.name: _BY_RULE
            for node in self.graph
            if self.targets[node.name].keep_float and keep.is_kept_by_rule(node)
        }
        if self.settings.unsupported is UnsupportedPolicy.KEEP:
            wanted |= {
                name: _reason(error)
                for name, error in self.refusals.items()
                if name in self.graph.by_name and self.graph[name].kind != SELECT
            }
        for name, reason in wanted.items():
            error = keep.why_not(self.graph[name], allow_code=allow_code)
            if error is None:
                self.kept[name] = reason
            else:
                self._unkept[name] = error
        self.kept |= dict.fromkeys(keep.between(self.graph, self.kept), keep.BETWEEN)
        return bool(wanted)

    def _layer(self, node: Node, *, quantize: bool) -> keras.layers.Layer:
        name = node.layer or layer_name(node)
        if node.name in self._unkept:
            raise self._unkept[node.name]
        if node.name in self.kept:
            return keep.kept_layer(self.graph[node.name], name)
        slots = Slots(
            name=name,
            target=self.targets[node.name],
            quantize=quantize,
            input_shape=self.edges.graph[node.inputs[0]].shape,
            from_input=tuple(self.edges.from_input(name) for name in node.inputs),
            is_output=node.name in self.edges.own_output,
            share=share(self.edges.graph, node),
        )
        return self.registry.find(node)(node, slots)

    def build(self, *, quantize: bool) -> keras.Model:
        """The model, with dummy quantizers if not ``quantize``."""

        def factory(node: Node) -> keras.layers.Layer:
            self.names[layer_key(node)] = node.layer
            return self._layer(node, quantize=quantize)

        model = build(self.edges.graph, factory, assign=_assign)
        for layer in quantized_layers(model):
            if isinstance(layer, QBatchNormalization):
                layer.refresh()
        return model

    def probe(self, tensors: list[str]) -> tuple[keras.Model, dict[str, str]]:
        """The float model that gives some tensors, and the names of its layers."""
        names: dict[str, str] = {}

        def factory(node: Node) -> keras.layers.Layer:
            names[layer_key(node)] = node.layer
            return float_factory(node)

        probe = build(dataclasses.replace(self.graph, output_structure=tensors), factory)
        held = {layer.name for layer in probe.layers}
        return probe, {key: name for key, name in names.items() if name in held}

    def layers_with(self, policy: OverflowPolicy) -> frozenset[str]:
        """Names of the layers of one overflow policy."""
        return frozenset(
            self.names[layer_key(node)]
            for node in self.edges.graph
            if node.kind not in (INPUT, SELECT)
            and node.name not in self.kept
            and self.targets[node.name].overflow is policy
        )

    def ruled(self, rules: Sequence[Rule]) -> tuple[tuple[Rule, tuple[str, ...]], ...]:
        """The rules that say how firmware is built, with the layers they are the first for."""
        nodes = [node for node in self.edges.graph if node.kind not in (INPUT, SELECT)]
        first = first_rules(nodes, rules)
        return tuple(
            (rule, tuple(dict.fromkeys(self.names[layer_key(n)] for n in nodes if first.get(n.name) is rule)))
            for rule in rules
            if rule.building
        )

    def sites(self, model: keras.Model) -> tuple[list[str], tuple[Site, ...]]:
        """The tensors to observe (node names of the canonical graph), and who needs them."""
        tensors: dict[str, int] = {}
        seen: dict[tuple[str, int | str], list[int]] = {}
        for node in self.edges.graph:
            if node.kind in (INPUT, SELECT):
                continue
            name = self.names[layer_key(node)]
            layer = model.get_layer(name)
            if not isinstance(layer, QLayer):
                continue
            slots: dict[int | str, str] = dict(enumerate(node.inputs[: len(layer.iqs)]))
            if layer.oq is not None:
                slots["oq"] = node.name
            for slot, value in slots.items():
                source = self.edges.tensor[value]
                position = tensors.setdefault(source, len(tensors))
                seen.setdefault((name, slot), []).append(position)
        return list(tensors), tuple(
            Site(layer=name, slot=slot, tensors=tuple(dict.fromkeys(positions)))
            for (name, slot), positions in seen.items()
        )


def _reason(error: UnsupportedLayerError) -> str:
    return f"{error.what} ({error.received})" if error.received is not None else str(error.what)


def _assign(layer: keras.layers.Layer, node: Node) -> None:
    """Copy float weights into a quantized layer; its quantizers' widths have the same kind of variables,
    so weights go by attribute."""
    if not isinstance(layer, QLayer):
        assign_weights(layer, node)
        return
    for key, value in node.weights.items():
        getattr(layer, key).assign(value)
