#ifndef NNET_HGQIFY_H_
#define NNET_HGQIFY_H_

// The same kernels for every vendor's compiler: what differs is in the dialect header.
#include "nnet_hgqify_dialect.h"

namespace nnet {

struct clip_config {
    static const unsigned n_in = 10;
    static const bool has_low = false;
    static const bool has_high = false;
};

// min(max(x, low), high); each bound only where the configuration has it.
template <class data_T, class res_T, typename CONFIG_T> res_T clip_one(data_T x) {
    HGQIFY_INLINE
    if (CONFIG_T::has_low && x < CONFIG_T::low)
        return res_T(CONFIG_T::low);
    if (CONFIG_T::has_high && x > CONFIG_T::high)
        return res_T(CONFIG_T::high);
    return res_T(x);
}

template <class data_T, class res_T, typename CONFIG_T> void clip(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in]) {
    HGQIFY_PIPELINE
    for (unsigned ii = 0; ii < CONFIG_T::n_in; ii++) {
        res[ii] = clip_one<data_T, res_T, CONFIG_T>(data[ii]);
    }
}

template <class data_T, class res_T, typename CONFIG_T, class data_S, class res_S>
void clip_stream(data_S &data, res_S &res) {
ClipLoop:
    for (unsigned i = 0; i < CONFIG_T::n_in / res_T::size; i++) {
        HGQIFY_PIPELINE
        data_T in_data = data.read();
        res_T out_data;
        for (unsigned j = 0; j < res_T::size; j++) {
            HGQIFY_UNROLL
            out_data[j] = clip_one<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in_data[j]);
        }
        res.write(out_data);
    }
}

// A batch of matrix products: res[g][m][n] = sum over c of a[g][m][c] * b[g][n][c]. Products are exact; partial sums
// may wrap in accum_t, whose bits of the total are right.
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void matmul(a_T a[CONFIG_T::groups * CONFIG_T::rows * CONFIG_T::summed],
            b_T b[CONFIG_T::groups * CONFIG_T::columns * CONFIG_T::summed],
            res_T res[CONFIG_T::groups * CONFIG_T::rows * CONFIG_T::columns]) {
    HGQIFY_PIPELINE
    for (unsigned g = 0; g < CONFIG_T::groups; g++) {
        for (unsigned m = 0; m < CONFIG_T::rows; m++) {
            for (unsigned n = 0; n < CONFIG_T::columns; n++) {
                const unsigned row = (g * CONFIG_T::rows + m) * CONFIG_T::summed;
                const unsigned column = (g * CONFIG_T::columns + n) * CONFIG_T::summed;
                typename CONFIG_T::accum_t sum = 0;
                for (unsigned c = 0; c < CONFIG_T::summed; c++) {
                    sum += a[row + c] * b[column + c];
                }
                res[(g * CONFIG_T::rows + m) * CONFIG_T::columns + n] = res_T(sum);
            }
        }
    }
}

#ifndef HGQIFY_AC_TYPES
// A table for every edge: res[n] = the entry of table n mod tables at (raw bits of data[n] >> its shift) & its mask.
template <class data_T, class res_T, typename CONFIG_T, class table_T>
void edge_tables(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
                 const table_T table[CONFIG_T::tables * CONFIG_T::size]) {
    HGQIFY_PIPELINE
    HGQIFY_EACH_TABLE
    for (unsigned ii = 0; ii < CONFIG_T::n_in; ii++) {
        HGQIFY_UNROLL
        const unsigned edge = ii % CONFIG_T::tables;
        ap_uint<data_T::width> raw = data[ii].range(data_T::width - 1, 0);
        const ap_uint<data_T::width> code = raw >> CONFIG_T::shifts[edge];
        const unsigned address = code.to_uint() & CONFIG_T::masks[edge];
        res[ii] = res_T(table[edge * CONFIG_T::size + address]);
    }
}
#endif

// The same N elements in order, in packs of another size. hls4ml's repack_stream does it only where one size is
// a multiple of the other.
template <class data_T, class res_T, int N, class data_S, class res_S> void regroup_stream(data_S &data, res_S &res) {
    res_T out_data;
    unsigned filled = 0;
RegroupPacks:
    for (unsigned i = 0; i < N / data_T::size; i++) {
        data_T in_data = data.read();
    RegroupElements:
        for (unsigned j = 0; j < data_T::size; j++) {
            HGQIFY_PIPELINE
            out_data[filled] = in_data[j];
            if (filled == res_T::size - 1) {
                res.write(out_data);
                filled = 0;
            } else {
                filled++;
            }
        }
    }
}

#ifdef HGQIFY_AC_TYPES
// A table by the raw bits of its input. For ap_fixed hls4ml has this kernel.
template <class data_T, class res_T, class table_T> res_T lookup_one(data_T x, const table_T *table) {
    ac_int<data_T::width, false> bits = x.template slc<data_T::width>(0);
    return res_T(table[bits.to_uint()]);
}

template <class data_T, class res_T, typename CONFIG_T, class table_T>
void lookup(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in], const table_T *table) {
    for (unsigned ii = 0; ii < CONFIG_T::n_in; ii++) {
        res[ii] = lookup_one<data_T, res_T>(data[ii], table);
    }
}

template <class data_T, class res_T, typename CONFIG_T, class data_S, class res_S, class table_T>
void lookup_stream(data_S &data, res_S &res, const table_T *table) {
    for (unsigned i = 0; i < CONFIG_T::n_in / res_T::size; i++) {
        data_T in_data = data.read();
        res_T out_data;
        for (unsigned j = 0; j < res_T::size; j++) {
            out_data[j] = lookup_one<typename data_T::value_type, typename res_T::value_type>(in_data[j], table);
        }
        res.write(out_data);
    }
}
#endif

} // namespace nnet

#endif
