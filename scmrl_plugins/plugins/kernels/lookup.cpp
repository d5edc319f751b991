// Convolutions of spikes by table lookup of sums of weights, called by lookup.py, which describes the method.
//
// A spike is 0 or 1, so four spikes select one of the 16 sums of four rows of a matrix. A block of 32 spikes is 8
// bytes, one per group of four: byte g has spikes g, g + 8, g + 16 and g + 24 in its lowest bits. Where there are at most
// 16 channels, only four bytes are used: byte g has spikes g, g + 4, g + 8 and g + 12. For each block of 32
// rows and 32 columns the sums are computed once, in tables that fit in the L1 cache, and looked up for every pixel
// (forward) or for every weight (gradient).

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr long GROUPS = 8, BLOCK = 4 * GROUPS, SUMS = 16;
// Number of pixels processed together: their sums fit in the L2 cache and amortise the tables.
constexpr long PIXELS = 1024;

// GCC and Clang map this to the widest registers available.
#ifdef __AVX512F__
constexpr long BYTES = 64;
#else
constexpr long BYTES = 32;
#endif
template <class F>
struct Vector {
    typedef F type __attribute__((vector_size(BYTES), aligned(sizeof(F))));
};

// Images of spikes for a square kernel: blocks of channels, images, rows and columns, 8 bytes each, with zero padding
// of half the kernel size. lookup.py has the same fields.
struct Spikes {
    uint8_t *bytes;
    long images, channels, height, width, kernel, threads;

    long rows() const { return images * height; }
    long taps() const { return kernel * kernel; }
    long edge() const { return kernel / 2; }
    long blocks() const { return (channels + BLOCK - 1) / BLOCK; }
    // Groups of four channels in a block.
    long groups() const { return channels <= BLOCK / 2 ? GROUPS / 2 : GROUPS; }
    // Groups of four pixels in a row; the last one is padded with zeros.
    long quads() const { return (width + 3) / 4; }
    uint8_t *at(long block, long row, long up, long left) const {
        long tall = height + kernel - 1, wide = 4 * quads() + kernel - 1;
        return bytes + (((block * images + row / height) * tall + row % height + up) * wide + left) * GROUPS;
    }
};

// table[s] = the sum of those of four rows whose bit is set in s, for BLOCK columns; a missing row counts as zero.
template <class F>
void tabulate(const F *const rows[4], long columns, F *table) {
    std::fill(table, table + BLOCK, F(0));
    for (long i = 0; i < 4; i++) {
        F row[BLOCK] = {};
        if (rows[i]) std::copy(rows[i], rows[i] + columns, row);
        for (long s = 0; s < 1 << i; s++)
            for (long c = 0; c < BLOCK; c++) table[((1 << i) + s) * BLOCK + c] = table[s * BLOCK + c] + row[c];
    }
}

// sums[0 .. BLOCK) += the entries that COUNT bytes select from as many tables.
template <long COUNT, class F>
inline void look_up(const uint8_t *chosen, const F *tables, F *sums) {
    using V = typename Vector<F>::type;
    constexpr long lanes = BYTES / sizeof(F), parts = BLOCK / lanes;
    V sum[parts];
    uint64_t all;  // one load for eight
    std::memcpy(&all, chosen, GROUPS);
    for (long p = 0; p < parts; p++) sum[p] = *(const V *)(sums + p * lanes);
#pragma GCC unroll 8
    for (long g = 0; g < COUNT; g++) {
        const F *row = tables + (g * SUMS + (all >> 8 * g & 15)) * BLOCK;
        for (long p = 0; p < parts; p++) sum[p] += *(const V *)(row + p * lanes);
    }
    for (long p = 0; p < parts; p++) *(V *)(sums + p * lanes) = sum[p];
}

// Whether all values of x are spikes.
template <class F>
bool pack(Spikes to, const F *x) {
    typedef F Eight __attribute__((vector_size(GROUPS * sizeof(F)), aligned(sizeof(F))));
    typedef uint8_t Bytes __attribute__((vector_size(GROUPS)));
    using Mask = decltype(Eight() == Eight());
    const bool halves = to.groups() < GROUPS;  // of eight channels, in bits of their own until both are joined
    const Mask one = Mask() + 1, bits = {1, 1, 1, 1, 2, 2, 2, 2};
    bool all = true;
#pragma omp parallel for num_threads(to.threads) reduction(&& : all)
    for (long row = 0; row < to.rows(); row++) {
        Mask odd = {};
        const F *pixel = x + row * to.width * to.channels;
        for (long w = 0; w < to.width; w++)  // in the order of the memory
            for (long block = 0; block < to.blocks(); block++) {
                long channels = std::min(BLOCK, to.channels - block * BLOCK);
                Mask chosen = {};
                for (long i = 0; i * GROUPS < channels; i++) {
                    long count = std::min(GROUPS, channels - i * GROUPS);
                    Eight value = {};
                    if (count == GROUPS)
                        value = *(const Eight *)(pixel + i * GROUPS);
                    else
                        for (long c = 0; c < count; c++) value[c] = pixel[i * GROUPS + c];
                    Mask spike = value == 1;
                    odd |= ~spike & (value != 0);
                    chosen |= spike & (halves ? bits << 2 * i : one << i);
                }
                Bytes eight = __builtin_convertvector(chosen, Bytes);
                uint64_t word;
                std::memcpy(&word, &eight, GROUPS);
                if (halves) word = (word | word >> 32) & 0xffffffff;
                std::memcpy(to.at(block, row, to.edge(), to.edge()) + w * GROUPS, &word, GROUPS);
                pixel += channels;
            }
        bool other = false;
        for (long i = 0; i < GROUPS; i++) other |= odd[i] != 0;
        all = all && !other;
    }
    return all;
}

// weight [kernel, kernel, channels, out_channels], out [images, height, width, out_channels]; width <= PIXELS.
template <class F>
void convolve(Spikes x, const F *weight, const F *bias, F *out, long out_channels) {
    long strip = PIXELS / x.width, strips = (x.rows() + strip - 1) / strip;
    long out_blocks = (out_channels + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(x.threads)
    for (long s = 0; s < strips; s++)
        for (long n = 0; n < out_blocks; n++) {
            alignas(64) F sums[PIXELS * BLOCK], tables[GROUPS * SUMS * BLOCK];
            long first = s * strip, last = std::min(x.rows(), first + strip), pixels = (last - first) * x.width;
            long column = n * BLOCK, columns = std::min(BLOCK, out_channels - column);
            std::fill(sums, sums + pixels * BLOCK, F(0));
            for (long tap = 0; tap < x.taps(); tap++)
                for (long block = 0; block < x.blocks(); block++) {
                    for (long g = 0; g < x.groups(); g++) {
                        const F *four[4];
                        for (long i = 0; i < 4; i++) {
                            long c = block * BLOCK + g + x.groups() * i, row = tap * x.channels + c;
                            four[i] = c < x.channels ? weight + row * out_channels + column : nullptr;
                        }
                        tabulate(four, columns, tables + g * SUMS * BLOCK);
                    }
                    F *sum = sums;
                    for (long row = first; row < last; row++) {
                        const uint8_t *chosen = x.at(block, row, tap / x.kernel, tap % x.kernel);
                        for (long w = 0; w < x.width; w++, chosen += GROUPS, sum += BLOCK)
                            x.groups() == GROUPS ? look_up<GROUPS>(chosen, tables, sum)
                                                 : look_up<GROUPS / 2>(chosen, tables, sum);
                    }
                }
            for (long pixel = 0; pixel < pixels; pixel++) {
                F *to = out + (first * x.width + pixel) * out_channels + column;
                for (long c = 0; c < columns; c++)
                    to[c] = sums[pixel * BLOCK + c] + (bias ? bias[column + c] : F(0));
            }
        }
}

// The sum is over pixels: four neighbours in a row of one channel select an entry. grad has the layout of the result
// of convolve, and out that of its weight. The pixels are divided into parts whose sums are added at the end.
template <class F>
void correlate(Spikes x, const F *grad, F *out, long out_channels, uint8_t *chosen, F *sums, long shares) {
    long quads = x.rows() * x.quads(), pieces = (quads + GROUPS - 1) / GROUPS;
    long out_blocks = (out_channels + BLOCK - 1) / BLOCK, inputs = x.taps() * x.blocks() * BLOCK;
#pragma omp parallel for num_threads(x.threads)
    for (long piece = 0; piece < pieces; piece++)
        for (long tap = 0; tap < x.taps(); tap++)
            for (long block = 0; block < x.blocks(); block++) {
                uint8_t by_quad[GROUPS][BLOCK] = {};
                for (long q = 0; q < GROUPS && piece * GROUPS + q < quads; q++) {
                    long quad = piece * GROUPS + q;
                    const uint8_t *four =
                        x.at(block, quad / x.quads(), tap / x.kernel, quad % x.quads() * 4 + tap % x.kernel);
                    uint64_t words[4];
                    std::memcpy(words, four, sizeof words);
                    for (long i = 0; i < 4; i++) {  // eight channels at once
                        uint64_t bits = 0;
                        for (long n = 0; n < 4; n++) bits |= (words[n] >> i & 0x0101010101010101) << n;
                        std::memcpy(by_quad[q] + x.groups() * i, &bits, GROUPS);
                    }
                }
                uint8_t *to = chosen + ((piece * x.taps() + tap) * x.blocks() + block) * BLOCK * GROUPS;
                for (long c = 0; c < BLOCK; c++)
                    for (long q = 0; q < GROUPS; q++) to[c * GROUPS + q] = by_quad[q][c];
            }
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(x.threads)
    for (long share = 0; share < shares; share++)
        for (long n = 0; n < out_blocks; n++) {
            long column = n * BLOCK, columns = std::min(BLOCK, out_channels - column);
            F *part = sums + (share * out_blocks + n) * inputs * BLOCK;
            std::fill(part, part + inputs * BLOCK, F(0));
            alignas(64) F tables[GROUPS * SUMS * BLOCK];
            for (long piece = pieces * share / shares; piece < pieces * (share + 1) / shares; piece++) {
                for (long q = 0; q < GROUPS; q++) {
                    long quad = piece * GROUPS + q, row = quad / x.quads(), w = quad % x.quads() * 4;
                    const F *four[4];
                    for (long i = 0; i < 4; i++)
                        four[i] = quad < quads && w + i < x.width
                                      ? grad + (row * x.width + w + i) * out_channels + column
                                      : nullptr;
                    tabulate(four, columns, tables + q * SUMS * BLOCK);
                }
                const uint8_t *bytes = chosen + piece * inputs * GROUPS;
                for (long tap = 0; tap < x.taps(); tap++) {
                    const long first = tap * x.blocks() * BLOCK, last = first + x.channels;
                    for (long input = first; input < last; input++)
                        look_up<GROUPS>(bytes + input * GROUPS, tables, part + input * BLOCK);
                }
            }
        }
#pragma omp parallel for num_threads(x.threads)
    for (long tap = 0; tap < x.taps(); tap++)
        for (long c = 0; c < x.channels; c++)
            for (long n = 0; n < out_channels; n++) {
                long input = tap * x.blocks() * BLOCK + c;
                F sum = 0;
                for (long share = 0; share < shares; share++)
                    sum += sums[((share * out_blocks + n / BLOCK) * inputs + input) * BLOCK + n % BLOCK];
                out[(tap * x.channels + c) * out_channels + n] = sum;
            }
}

}  // namespace

// Real is float or double, as the compiler is told.
extern "C" {
bool pack(const Spikes *to, const Real *x) { return pack(*to, x); }
void convolve(const Spikes *x, const Real *weight, const Real *bias, Real *out, long out_channels) {
    convolve(*x, weight, bias, out, out_channels);
}
void correlate(const Spikes *x, const Real *grad, Real *out, long out_channels, uint8_t *chosen, Real *sums,
                      long shares) {
    correlate(*x, grad, out, out_channels, chosen, sums, shares);
}
}
