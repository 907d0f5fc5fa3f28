"""From the axis options of a config to the shape of its widths."""

from hgqify.errors import RuleError
from hgqify.quantizers.config import QuantizerConfig


def shared_axes(config: QuantizerConfig, shape: tuple[int | None, ...], where: str) -> tuple[int, ...]:
    """Axes of a tensor of ``shape`` along which one width is shared, ascending and non-negative.

    Raises:
        RuleError: an axis outside the shape, or own widths along the batch axis of data.
    """
    rank = len(shape)
    if config.homogeneous_axis is not None:
        shared = _normalised(config.homogeneous_axis, rank, "homogeneous_axis", where)
    else:
        own = _normalised(config.heterogeneous_axis or (), rank, "heterogeneous_axis", where)
        if not config.place.is_constant and 0 in own:
            raise RuleError(
                "data cannot have own widths along its batch axis",
                where=where,
                received=f"heterogeneous_axis={config.heterogeneous_axis}",
                remedy="leave axis 0 out",
            )
        shared = set(range(rank)) - own
    if not config.place.is_constant:
        shared = shared | {0}
    return tuple(sorted(shared))


def width_shape(shape: tuple[int | None, ...], shared: tuple[int, ...], where: str) -> tuple[int, ...]:
    """Shape of the width variables: 1 along shared axes, the size along the others.

    Raises:
        RuleError: a size that is needed is unknown.
    """
    sizes = []
    for axis, size in enumerate(shape):
        if axis in shared:
            size = 1
        if size is None:
            raise RuleError(
                f"axis {axis} has no fixed size, so it cannot have one width per position",
                where=where,
                received=f"shape {shape}",
                remedy=f"fix the size, or share widths with homogeneous_axis=({axis}, ...)",
            )
        sizes.append(size)
    return tuple(sizes)


def _normalised(axes: tuple[int, ...], rank: int, option: str, where: str) -> set[int]:
    for axis in axes:
        if not -rank <= axis < rank:
            raise RuleError(
                f"{option} names an axis that a tensor of rank {rank} does not have",
                where=where,
                received=str(axes),
                remedy=f"axes go from {-rank} to {rank - 1}",
            )
    return {axis % rank for axis in axes}
