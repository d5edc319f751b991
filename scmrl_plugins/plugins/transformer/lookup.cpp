// Convolutions of spikes by looking up sums of weights. lookup.py says what they compute, and calls them.
//
// A spike is 0 or 1, so that four of them choose one of the 16 sums that four rows of a matrix can make. A block of
// 32 spikes is 8 bytes, each with the choice of one group of four: byte g has spikes g, g + 8, g + 16 and g + 24 in
// its lowest bits. For each block of 32 rows and 32 columns the sums are made once, in tables that stay in the first
// cache, and looked up for every pixel (forward), or for every weight (its gradient).

// torch compiles with this off.
#pragma GCC optimize("tree-loop-vectorize")

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr long GROUPS = 8, BLOCK = 4 * GROUPS, SUMS = 16;
// Pixels whose sums are gathered at once: they stay in the second cache, and earn the making of the table back.
constexpr long PIXELS = 1024;
// Shares of the pixels whose gradients are summed apart, whatever the number of threads, so that it changes no bit.
constexpr long SHARES = 4;

// GCC and Clang make of it the widest registers there are.
#ifdef __AVX512F__
constexpr long BYTES = 64;
#else
constexpr long BYTES = 32;
#endif
template <class F>
struct Vector {
    typedef F type __attribute__((vector_size(BYTES), aligned(sizeof(F))));
};

// Images of spikes: blocks of channels, images, rows and columns with `edge` zeros around, 8 bytes each.
struct Spikes {
    uint8_t *bytes;
    long images, height, width, channels, edge;

    long blocks() const { return (channels + BLOCK - 1) / BLOCK; }
    // Groups of four pixels in a row, the last of them filled up with zeros.
    long quads() const { return (width + 3) / 4; }
    uint8_t *at(long block, long row, long up, long left) const {
        long tall = height + 2 * edge, wide = 4 * quads() + 2 * edge;
        return bytes + (((block * images + row / height) * tall + row % height + up) * wide + left) * GROUPS;
    }
};

// table[s] = the sum of those of four rows whose bit is in s, for BLOCK columns; no row is a row of 0.
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

// sums[0 .. BLOCK) += what 8 bytes choose from 8 tables.
template <class F>
inline void look_up(const uint8_t *chosen, const F *tables, F *sums) {
    using V = typename Vector<F>::type;
    constexpr long lanes = BYTES / sizeof(F), parts = BLOCK / lanes;
    V sum[parts];
    uint64_t all;  // one load for eight
    std::memcpy(&all, chosen, GROUPS);
    for (long p = 0; p < parts; p++) sum[p] = *(const V *)(sums + p * lanes);
#pragma GCC unroll 8
    for (long g = 0; g < GROUPS; g++) {
        const F *row = tables + (g * SUMS + (all >> 8 * g & 15)) * BLOCK;
        for (long p = 0; p < parts; p++) sum[p] += *(const V *)(row + p * lanes);
    }
    for (long p = 0; p < parts; p++) *(V *)(sums + p * lanes) = sum[p];
}

// Whether all of x are spikes.
template <class F>
bool pack(const F *x, Spikes to, int threads) {
    bool all = true;
#pragma omp parallel for num_threads(threads) reduction(&& : all)
    for (long row = 0; row < to.images * to.height; row++) {
        bool other = false;
        for (long block = 0; block < to.blocks() && !other; block++) {
            long channels = std::min(BLOCK, to.channels - block * BLOCK);
            uint8_t *bytes = to.at(block, row, to.edge, to.edge);
            for (long w = 0; w < to.width && !other; w++, bytes += GROUPS) {
                const F *pixel = x + (row * to.width + w) * to.channels + block * BLOCK;
                F filled[BLOCK] = {};
                if (channels < BLOCK) {
                    std::copy(pixel, pixel + channels, filled);
                    pixel = filled;
                }
                int spike[BLOCK], odd = 0;
                for (long c = 0; c < BLOCK; c++) {
                    spike[c] = pixel[c] == F(1);
                    odd |= pixel[c] != F(spike[c]);
                }
                other = odd;
                for (long g = 0; g < GROUPS; g++)
                    bytes[g] = spike[g] | spike[g + 8] << 1 | spike[g + 16] << 2 | spike[g + 24] << 3;
            }
        }
        all = all && !other;
    }
    return all;
}

template <class F>
void convolve(Spikes x, const F *weight, const F *bias, F *out, long out_channels, long kernel, int threads) {
    long rows = x.images * x.height, strip = std::max(1L, PIXELS / x.width), strips = (rows + strip - 1) / strip;
    long out_blocks = (out_channels + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(threads)
    {
        std::vector<F> sums(strip * x.width * BLOCK);
        alignas(64) F tables[GROUPS * SUMS * BLOCK];
#pragma omp for collapse(2) schedule(dynamic)
        for (long s = 0; s < strips; s++)
            for (long n = 0; n < out_blocks; n++) {
                long first = s * strip, last = std::min(rows, first + strip);
                long column = n * BLOCK, columns = std::min(BLOCK, out_channels - column);
                std::fill(sums.begin(), sums.end(), F(0));
                for (long tap = 0; tap < kernel * kernel; tap++)
                    for (long block = 0; block < x.blocks(); block++) {
                        for (long g = 0; g < GROUPS; g++) {
                            const F *four[4];
                            for (long i = 0; i < 4; i++) {
                                long c = block * BLOCK + g + GROUPS * i;
                                four[i] = c < x.channels
                                              ? weight + (tap * x.channels + c) * out_channels + column
                                              : nullptr;
                            }
                            tabulate(four, columns, tables + g * SUMS * BLOCK);
                        }
                        F *sum = sums.data();
                        for (long row = first; row < last; row++) {
                            const uint8_t *chosen = x.at(block, row, tap / kernel, tap % kernel);
                            for (long w = 0; w < x.width; w++, chosen += GROUPS, sum += BLOCK)
                                look_up(chosen, tables, sum);
                        }
                    }
                for (long pixel = 0; pixel < (last - first) * x.width; pixel++) {
                    F *to = out + (first * x.width + pixel) * out_channels + column;
                    for (long c = 0; c < columns; c++)
                        to[c] = sums[pixel * BLOCK + c] + (bias ? bias[column + c] : F(0));
                }
            }
    }
}

// Here the pixels are what is summed over: four neighbours in a row, of one channel, choose.
template <class F>
void correlate(Spikes x, const F *grad, F *out, long out_channels, long kernel, int threads) {
    long quads = x.images * x.height * x.quads(), pieces = (quads + GROUPS - 1) / GROUPS, taps = kernel * kernel;
    long out_blocks = (out_channels + BLOCK - 1) / BLOCK, inputs = taps * x.blocks() * BLOCK;
    std::vector<uint8_t> chosen(pieces * inputs * GROUPS);
#pragma omp parallel for num_threads(threads)
    for (long piece = 0; piece < pieces; piece++)
        for (long tap = 0; tap < taps; tap++)
            for (long block = 0; block < x.blocks(); block++) {
                uint8_t by_quad[GROUPS][BLOCK] = {};
                for (long q = 0; q < GROUPS && piece * GROUPS + q < quads; q++) {
                    long quad = piece * GROUPS + q;
                    const uint8_t *four =
                        x.at(block, quad / x.quads(), tap / kernel, quad % x.quads() * 4 + tap % kernel);
                    for (long i = 0; i < 4; i++)
                        for (long g = 0; g < GROUPS; g++)
                            by_quad[q][g + GROUPS * i] =
                                (four[g] >> i & 1) | (four[g + GROUPS] >> i & 1) << 1 |
                                (four[g + 2 * GROUPS] >> i & 1) << 2 | (four[g + 3 * GROUPS] >> i & 1) << 3;
                }
                uint8_t *to = chosen.data() + ((piece * taps + tap) * x.blocks() + block) * BLOCK * GROUPS;
                for (long c = 0; c < BLOCK; c++)
                    for (long q = 0; q < GROUPS; q++) to[c * GROUPS + q] = by_quad[q][c];
            }
    std::vector<F> shares(SHARES * out_blocks * inputs * BLOCK);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long share = 0; share < SHARES; share++)
        for (long n = 0; n < out_blocks; n++) {
            long column = n * BLOCK, columns = std::min(BLOCK, out_channels - column);
            F *sums = shares.data() + (share * out_blocks + n) * inputs * BLOCK;
            alignas(64) F tables[GROUPS * SUMS * BLOCK];
            for (long piece = pieces * share / SHARES; piece < pieces * (share + 1) / SHARES; piece++) {
                for (long q = 0; q < GROUPS; q++) {
                    long quad = piece * GROUPS + q, row = quad / x.quads(), w = quad % x.quads() * 4;
                    const F *four[4];
                    for (long i = 0; i < 4; i++)
                        four[i] = quad < quads && w + i < x.width
                                      ? grad + (row * x.width + w + i) * out_channels + column
                                      : nullptr;
                    tabulate(four, columns, tables + q * SUMS * BLOCK);
                }
                const uint8_t *bytes = chosen.data() + piece * inputs * GROUPS;
                for (long input = 0; input < inputs; input++)
                    look_up(bytes + input * GROUPS, tables, sums + input * BLOCK);
            }
        }
#pragma omp parallel for num_threads(threads)
    for (long tap = 0; tap < taps; tap++)
        for (long c = 0; c < x.channels; c++)
            for (long n = 0; n < out_channels; n++) {
                long input = tap * x.blocks() * BLOCK + c;
                F sum = 0;
                for (long share = 0; share < SHARES; share++)
                    sum += shares[((share * out_blocks + n / BLOCK) * inputs + input) * BLOCK + n % BLOCK];
                out[(tap * x.channels + c) * out_channels + n] = sum;
            }
}

}  // namespace

#define SPIKES uint8_t *bytes, long images, long height, long width, long channels, long kernel
#define MADE Spikes{bytes, images, height, width, channels, kernel / 2}
#define OF_TYPE(F, name)                                                                                           \
    bool pack_##name(SPIKES, int threads, const F *x) { return pack(x, MADE, threads); }                          \
    void convolve_##name(SPIKES, int threads, const F *weight, const F *bias, F *out, long out_channels) {        \
        convolve(MADE, weight, bias, out, out_channels, kernel, threads);                                         \
    }                                                                                                             \
    void correlate_##name(SPIKES, int threads, const F *grad, F *out, long out_channels) {                        \
        correlate(MADE, grad, out, out_channels, kernel, threads);                                                \
    }

extern "C" {
OF_TYPE(float, float32)
OF_TYPE(double, float64)
}
