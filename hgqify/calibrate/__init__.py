"""Formats from data: observed ranges, placement of the binary point, exactness in float32.

Run
    calibrate, CalibrateSettings (Ranges) -> CalibrationReport (SiteReport, Adjustment); settle after weights
    moved
Parts
    collect_ranges, percentile_ranges, choose_by_loss, clippable, Range, place_activation, place_weight,
    place_bias, apply_ranges, apply_weights, fit_float32, excess_bits
Rows
    row_sizes: which normalizations bring rows of very different sizes to one
Corrections
    correct_bias -> BiasReport; equalize.choose_shifts (see `hgqify.equalizing`)
Allocation under a budget of EBOPs
    measure_sensitivity -> Sensitivity; Allocator (Allocation, Share), Compensator,
    samples_to_fit; renewed; assign_weights, nearest_codes; refuse_opaque
Quality
    layer_sqnr, sqnr
"""

from hgqify.calibrate.allocate import Allocation, Allocator, Share
from hgqify.calibrate.assign import assign_weights
from hgqify.calibrate.bias import BiasReport, correct_bias
from hgqify.calibrate.calibrate import CalibrationReport, SiteReport, calibrate, renewed, settle
from hgqify.calibrate.candidates import nearest_codes
from hgqify.calibrate.compensate import Compensator, samples_to_fit
from hgqify.calibrate.differentiable import refuse_opaque
from hgqify.calibrate.fisher import Sensitivity, measure_sensitivity, require_gradients
from hgqify.calibrate.float32 import Adjustment, excess_bits, fit_float32
from hgqify.calibrate.placement import Bits, place_activation, place_bias, place_weight
from hgqify.calibrate.quality import layer_sqnr, sqnr
from hgqify.calibrate.range_choice import choose_by_loss, clippable, percentile_ranges
from hgqify.calibrate.ranges import Range, collect_ranges
from hgqify.calibrate.row_spread import row_sizes
from hgqify.calibrate.settings import CalibrateSettings, Ranges
from hgqify.calibrate.widths import apply_ranges, apply_weights

__all__ = [
    "Adjustment",
    "Allocation",
    "Allocator",
    "BiasReport",
    "Bits",
    "CalibrateSettings",
    "CalibrationReport",
    "Compensator",
    "Range",
    "Ranges",
    "Sensitivity",
    "Share",
    "SiteReport",
    "apply_ranges",
    "apply_weights",
    "assign_weights",
    "calibrate",
    "choose_by_loss",
    "clippable",
    "collect_ranges",
    "correct_bias",
    "excess_bits",
    "fit_float32",
    "layer_sqnr",
    "measure_sensitivity",
    "nearest_codes",
    "percentile_ranges",
    "place_activation",
    "place_bias",
    "place_weight",
    "refuse_opaque",
    "renewed",
    "require_gradients",
    "row_sizes",
    "samples_to_fit",
    "settle",
    "sqnr",
]
