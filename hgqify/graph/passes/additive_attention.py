"""The nodes that attention with summed scores consists of."""

from __future__ import annotations

import numpy as np

from hgqify.graph.model import Call as NodeCall
from hgqify.graph.model import Node, Ref
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.attention_calls import AttentionError, Call
from hgqify.graph.passes.part_nodes import PartWriter
from hgqify.graph.passes.products import einsum_node


def additive(node: Node, call: Call) -> tuple[tuple[Node, ...], str]:
    """``score[q, s] = sum_m w[m] * tanh(c * (query[q, m] + key[s, m]))`` (Bahdanau et al., 2015).

    `keras.layers.AdditiveAttention` has c = 1 and trains w, or has w = 1; `keras.layers.Attention` with the
    score 'concat' trains one w for all features, and c. The sum over m is a dense layer of one unit.

    Returns:
        The nodes, the last one named as the layer, and the name of the probabilities.

    Raises:
        AttentionError: tensors that are no sequences of vectors, or calls that share the factor c.
    """
    if {len(shape) for shape in call.shapes.values()} != {2}:
        raise AttentionError("query, value and key are not sequences of vectors")
    rows, size = call.shapes[call.query]
    columns = call.shapes[call.key][0]
    parts = PartWriter(node)
    query = parts.reshape("query", call.query, (rows, 1, size))
    key = parts.reshape("key", call.key, (1, columns, size))
    pairs = (rows, columns, size)
    x = parts.add("pairs", "Add", (query, key), pairs)
    weight = np.ones(size, np.float32)
    scale = node.weights.get("scale")
    if node.kind == "AdditiveAttention":
        weight = weight if scale is None else scale
    else:
        weight = weight * node.weights["concat_score_weight"]
        if scale is not None:
            if node.shared:
                raise AttentionError("it is called several times and has a scale")
            place = node.with_(name=f"{node.name}/scaled", inputs=(x,), shape=pairs)
            parts.nodes += scale_shift_nodes(place, np.asarray(scale, np.float64), np.zeros(()))
            x = place.name
    x = parts.add("tanh", "Activation", (x,), pairs, {"activation": "tanh"})
    dense = {"units": 1, "use_bias": False, "activation": "linear"}
    kernel = {"kernel": weight.astype(np.float32).reshape(size, 1)}
    x = parts.add("summed", "Dense", (x,), (rows, columns, 1), dense, kernel)
    x = parts.reshape("scores", x, (rows, columns))
    mask = call.mask_over(3, 1)
    given = None if mask is None else NodeCall(args=(Ref(0),), kwargs={"mask": mask})
    scores = parts.add("softmax", "Softmax", (x,), (rows, columns), {"axis": -1}, call=given)
    parts.nodes.append(
        einsum_node(
            node.name,
            "qs,sm->qm",
            (scores, call.value),
            (rows, call.shapes[call.value][1]),
            origin=node.origin,
            shared=node.shared,
        )
    )
    return tuple(parts.nodes), scores
