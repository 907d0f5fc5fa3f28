#ifndef NNET_HGQIFY_DIALECT_H_
#define NNET_HGQIFY_DIALECT_H_

// Xilinx: ap_fixed, hls::stream.

#include "hls_stream.h"
#include "nnet_common.h"

#define HGQIFY_INLINE _Pragma("HLS INLINE")
#define HGQIFY_PIPELINE _Pragma("HLS PIPELINE")
#define HGQIFY_UNROLL _Pragma("HLS UNROLL")
// Every table becomes a memory of its own.
#define HGQIFY_EACH_TABLE                                                                                                \
    const unsigned tables = CONFIG_T::tables;                                                                            \
    (void)tables;                                                                                                        \
    _Pragma("HLS ARRAY_PARTITION variable=table block factor=tables")

#endif
