"""Open attention layers into what they consist of: projections, products of tensors, a softmax.

    scores = (W_q x + b_q) / sqrt(d) . (W_k z + b_k)
    y = W_o (softmax(mask(scores)) . (W_v z + b_v)) + b_o

(Vaswani et al., 2017). The scale goes into the query's projection. Masks that do not depend on data (causal,
sliding window, constants) become the softmax's constant mask; dropout does nothing at inference.
"""

from __future__ import annotations

from hgqify.graph.model import SELECT, Graph, Node
from hgqify.graph.passes.additive_attention import additive
from hgqify.graph.passes.attention_calls import AttentionError, Call, bound
from hgqify.graph.passes.attention_nodes import attention, grouped_query, multi_head
from hgqify.graph.passes.base import Pass, PassResult

_OPENED = {
    "MultiHeadAttention": multi_head,
    "GroupQueryAttention": grouped_query,
    "Attention": attention,
    "AdditiveAttention": additive,
}


class OpenAttention(Pass):
    """MultiHeadAttention, GroupQueryAttention, Attention, AdditiveAttention -> projections, Softmax."""

    name = "open-attention"

    def run(self, graph: Graph) -> PassResult:
        """Open every such layer that can be; the others are left, and the reason is reported."""
        replacements: dict[str, tuple[Node, ...]] = {}
        redirect: dict[str, str] = {}
        events = []
        for node in graph:
            kind = kind_of(node)
            if kind is None:
                continue
            try:
                call = bound(graph, node)
                nodes, scores = _OPENED[kind](node, call)
            except AttentionError as error:
                events.append(self.event(node, "kept", str(error)))
                continue
            replacements[node.name] = nodes
            if call.returns_scores:
                for part in graph.consumers(node.name):
                    if part.kind == SELECT:
                        replacements[part.name] = ()
                        redirect[part.name] = node.name if part.config["index"] == 0 else scores
            events.append(self.event(node, "lowered", "projections, products, softmax"))
        return self.result(graph, replacements, redirect, events)


def kind_of(node: Node) -> str | None:
    """Which kind of attention a node is, if any; a layer is not known by its class's name in one case."""
    grouped = node.source is not None and node.source.__name__ == "GroupedQueryAttention"
    if grouped and node.source.__module__.startswith("keras."):
        return "GroupQueryAttention"
    return node.kind if node.kind in _OPENED else None


def why_not(node: Node) -> str:
    """Why an attention node cannot be opened, as far as its arguments tell; empty where they say nothing."""
    try:
        call = Call.of(node, {})
    except AttentionError as error:
        return str(error)
    return "attention_mask differs between samples" if call.mask is not None else ""
