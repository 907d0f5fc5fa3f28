// Prints what ap_fixed and ap_ufixed compute: the codes of every format of a grid for every given value.
//
// Usage: ap_fixed_codes VALUES CODES
//   VALUES  four blocks, each an int64 count and that many 8-byte items: doubles, then the raw codes of
//           ap_fixed<64, 32>, of ap_ufixed<20, 7> and of ap_fixed<9, 11>
//   CODES   for each format of the grid, in order, the int64 codes of all items, block after block;
//           INT64_MIN where the headers cannot make the assignment
//
// grid.inc is written by the test: one line FORMAT(signed, W, I, quantization, overflow) per format.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "ap_fixed.h"

static std::vector<double> doubles;
static std::vector<int64_t> wide, natural, coarse;
static std::vector<int64_t> codes;

template <bool S, int W, int I, ap_q_mode Q, ap_o_mode O>
struct Target {
    typedef ap_fixed<W, I, Q, O> type;
};
template <int W, int I, ap_q_mode Q, ap_o_mode O>
struct Target<false, W, I, Q, O> {
    typedef ap_ufixed<W, I, Q, O> type;
};

// Assigning a fixed-point source whose bits all lie more than one place below the target's LSB reads a bit
// beyond its MSB: an assertion of the headers ends the program, in C simulation too, unless the target
// truncates. Such pairs have no codes.
template <class T, class Source>
static bool aborts() {
    const int dropped = (Source::width - Source::iwidth) - (T::width - T::iwidth);
    return T::qmode != AP_TRN && dropped > Source::width;
}

template <class T, class Source>
static void convert(const std::vector<int64_t> &items) {
    if (aborts<T, Source>()) {
        codes.insert(codes.end(), items.size(), INT64_MIN);
        return;
    }
    for (size_t n = 0; n < items.size(); n++) {
        Source source;
        source.V = items[n];
        T target = source;
        codes.push_back((int64_t)target.V);
    }
}

template <class T>
static void emit() {
    for (size_t n = 0; n < doubles.size(); n++) {
        T target = doubles[n];
        codes.push_back((int64_t)target.V);
    }
    convert<T, ap_fixed<64, 32>>(wide);
    convert<T, ap_ufixed<20, 7>>(natural);
    convert<T, ap_fixed<9, 11>>(coarse);
}

template <class Item>
static bool read(FILE *file, std::vector<Item> &items) {
    int64_t count;
    if (fread(&count, sizeof count, 1, file) != 1) return false;
    items.resize(count);
    return fread(items.data(), sizeof(Item), count, file) == (size_t)count;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    FILE *in = fopen(argv[1], "rb");
    if (!in || !read(in, doubles) || !read(in, wide) || !read(in, natural) || !read(in, coarse)) return 3;
    fclose(in);
#define FORMAT(S, W, I, Q, O) emit<Target<S, W, I, Q, O>::type>();
#include "grid.inc"
    FILE *out = fopen(argv[2], "wb");
    if (!out || fwrite(codes.data(), sizeof(int64_t), codes.size(), out) != codes.size()) return 4;
    return fclose(out) ? 4 : 0;
}
