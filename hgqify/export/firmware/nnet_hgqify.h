#ifndef NNET_HGQIFY_H_
#define NNET_HGQIFY_H_

#include "hls_stream.h"
#include "nnet_common.h"
#include "nnet_stream.h"

namespace nnet {

struct clip_config {
    static const unsigned n_in = 10;
    static const bool has_low = false;
    static const bool has_high = false;
};

// min(max(x, low), high); each bound only where the configuration has it.
template <class data_T, class res_T, typename CONFIG_T> res_T clip_one(data_T x) {
    #pragma HLS INLINE
    if (CONFIG_T::has_low && x < CONFIG_T::low)
        return res_T(CONFIG_T::low);
    if (CONFIG_T::has_high && x > CONFIG_T::high)
        return res_T(CONFIG_T::high);
    return res_T(x);
}

template <class data_T, class res_T, typename CONFIG_T> void clip(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in]) {
    #pragma HLS PIPELINE
    for (unsigned ii = 0; ii < CONFIG_T::n_in; ii++) {
        res[ii] = clip_one<data_T, res_T, CONFIG_T>(data[ii]);
    }
}

template <class data_T, class res_T, typename CONFIG_T> void clip(hls::stream<data_T> &data, hls::stream<res_T> &res) {
ClipLoop:
    for (unsigned i = 0; i < CONFIG_T::n_in / res_T::size; i++) {
        #pragma HLS PIPELINE
        data_T in_data = data.read();
        res_T out_data;
        PRAGMA_DATA_PACK(out_data)
        for (unsigned j = 0; j < res_T::size; j++) {
            #pragma HLS UNROLL
            out_data[j] = clip_one<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in_data[j]);
        }
        res.write(out_data);
    }
}

// The same N elements in order, in packs of another size. hls4ml's repack_stream does it where one size is a
// multiple of the other.
template <class data_T, class res_T, int N> void regroup_stream(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    if (data_T::size % res_T::size == 0 || res_T::size % data_T::size == 0) {
        repack_stream<data_T, res_T, N>(data, res);
        return;
    }
    res_T out_data;
    unsigned filled = 0;
RegroupPacks:
    for (unsigned i = 0; i < N / data_T::size; i++) {
        data_T in_data = data.read();
    RegroupElements:
        for (unsigned j = 0; j < data_T::size; j++) {
            #pragma HLS PIPELINE
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

} // namespace nnet

#endif
