"""Operations of our own in graphs: what Keras can only express for a batch of known size."""

from __future__ import annotations

from typing import Any

import keras


class JoinWithConstants(keras.Operation):
    """``concatenate(parts, axis)``, where parts that are no symbolic tensors hold one sample for all.

    A class token is such a part: Keras would need it repeated for every sample of the batch.
    """

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.axis = axis

    def call(self, parts: list[Any]) -> Any:
        """Join; a part of one sample is repeated for every sample of the largest.

        Args:
            parts: tensors and arrays with batch axis, equal in all other axes but ``axis``.
        """
        batch = max(part.shape[0] for part in parts)
        repeated = [
            keras.ops.repeat(part, batch, axis=0) if part.shape[0] == 1 < batch else part for part in parts
        ]
        return keras.ops.concatenate(repeated, axis=self.axis)

    def compute_output_spec(self, parts: list[Any]) -> keras.KerasTensor:
        """The symbolic result."""
        axis = self.axis % len(parts[0].shape)
        tensor = next(part for part in parts if isinstance(part, keras.KerasTensor))
        shape = list(tensor.shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return keras.KerasTensor(tuple(shape), dtype=tensor.dtype)

    def get_config(self) -> dict[str, Any]:
        """The axis."""
        return {"axis": self.axis, "name": self.name}
