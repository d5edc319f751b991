// All time steps of an integrate-and-fire neuron in one pass over memory, forward and backward, called by neuron.py.
//
// A block of units is taken through all steps while its membrane is in the L1 cache. Each operation rounds as in the
// neuron's equations op by op, so that spikes have equal bits.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr long BLOCK = 512;

// As in neuron.py.
enum Charge { DIVIDE, MULTIPLY, ADD };
enum Surrogate { SIGMOID, ATAN, GATE, QUADRATIC_GATE, RELU, TRIANGLE, FAST_SIGMOID, GAUSSIAN };

// x has `steps` rows of `units` adjacent values; `apart` values lie between the starts of two rows, 0 where all are
// the same. `learned`: whether the gradient of the rate is wanted.
struct Neuron {
    long steps, units, apart, threads, charge, surrogate, tie, learned;
    double rate, threshold, alpha;
};

// u[t] and s[t], and v[t] after the reset in place of v[t-1].
template <int CHARGE, bool TIE, class F>
void advance(const Neuron &n, const F *x, F *v, F *u, F *s, long count) {
    const F rate = F(n.rate), threshold = F(n.threshold), largest = std::numeric_limits<F>::max();
    for (long i = 0; i < count; i++) {
        F charged = CHARGE == DIVIDE     ? (x[i] - v[i]) / rate + v[i]
                    : CHARGE == MULTIPLY ? (x[i] - v[i]) * rate + v[i]
                                         : v[i] + x[i];
        F centred = charged - threshold, spike = (TIE ? centred >= 0 : centred > 0) ? F(1) : F(0);
        u[i] = centred;
        s[i] = spike;
        v[i] = (charged > largest ? largest : charged) * (1 - spike);
    }
}

template <bool TIE, class F>
void advance(const Neuron &n, const F *x, F *v, F *u, F *s, long count) {
    switch (n.charge) {
        case DIVIDE:
            return advance<DIVIDE, TIE>(n, x, v, u, s, count);
        case MULTIPLY:
            return advance<MULTIPLY, TIE>(n, x, v, u, s, count);
        default:
            return advance<ADD, TIE>(n, x, v, u, s, count);
    }
}

template <class F>
void advance(const Neuron &n, const F *x, F *v, F *u, F *s, long count) {
    n.tie ? advance<true>(n, x, v, u, s, count) : advance<false>(n, x, v, u, s, count);
}

// a b + c, rounded once where the processor can, for results that need no equal bits.
inline float multiply_add(float a, float b, float c) {
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

// e^x = 2^k e^r, |r| <= log(2) / 2, with as many terms of the series of e^r as the type has digits for.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.f), 88.f);
    float k = std::nearbyint(x * 1.44269504f);
    float r = multiply_add(k, 2.12194440e-4f, multiply_add(k, -0.693359375f, x));
    float e = multiply_add(r, 1 / 5040.f, 1 / 720.f);
    e = multiply_add(e, r, 1 / 120.f);
    e = multiply_add(e, r, 1 / 24.f);
    e = multiply_add(e, r, 1 / 6.f);
    e = multiply_add(e, r, 1 / 2.f);
    e = multiply_add(e, r, 1.f);
    e = multiply_add(e, r, 1.f);
    int32_t bits = (int32_t(k) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return e * power;
}
inline double exponential(double x) { return std::exp(x); }

// out = grad h'(u), as in surrogates.py.
template <class F>
void slope(const Neuron &n, const F *grad, const F *u, F *out, long count) {
    const F alpha = F(n.alpha), pi = F(3.14159265358979323846);
    switch (n.surrogate) {
        case SIGMOID:
            for (long i = 0; i < count; i++) {
                F g = 1 / (1 + exponential(-(u[i] * alpha)));
                out[i] = grad[i] * (1 - g) * g * alpha;
            }
            break;
        case ATAN:
            for (long i = 0; i < count; i++) {
                F z = u[i] * (alpha * pi / 2);
                out[i] = grad[i] / (z * z + 1) * (alpha / 2);
            }
            break;
        case GATE:
            for (long i = 0; i < count; i++) out[i] = std::abs(u[i]) < 1 / alpha ? grad[i] : F(0);
            break;
        case QUADRATIC_GATE:
            for (long i = 0; i < count; i++)
                out[i] = grad[i] * std::max(alpha - alpha * alpha * std::abs(u[i]), F(0));
            break;
        case RELU:
            for (long i = 0; i < count; i++) out[i] = u[i] > 0 ? grad[i] * alpha : F(0);
            break;
        case TRIANGLE:
            for (long i = 0; i < count; i++) out[i] = std::max(1 - std::abs(u[i] * alpha), F(0)) * grad[i];
            break;
        case FAST_SIGMOID:
            for (long i = 0; i < count; i++) {
                F z = 1 + std::abs(u[i] * alpha);
                out[i] = grad[i] / (z * z);
            }
            break;
        case GAUSSIAN:
            for (long i = 0; i < count; i++) {
                F z = u[i] * alpha;
                out[i] = exponential(z * z * F(-0.5)) * (alpha / std::sqrt(2 * pi)) * grad[i];
            }
            break;
    }
}

// s [steps, units].
template <class F>
void spikes(const Neuron &n, const F *x, F *s) {
    long blocks = (n.units + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(n.threads)
    for (long block = 0; block < blocks; block++) {
        long first = block * BLOCK, count = std::min(BLOCK, n.units - first);
        F v[BLOCK] = {}, u[BLOCK];
        for (long t = 0; t < n.steps; t++) {
            advance(n, x + t * n.apart + first, v, u, s + t * n.units + first, count);
        }
    }
}

// A block of the gradient of x from the gradient of s in step t, and its share of that of the rate. v, in and out, is
// the membrane; `add` adds to out.
template <class F>
double gradient(const Neuron &n, const F *x, const F *grad, F *v, F *out, long count, bool add) {
    const F rate = F(n.rate);
    F u[BLOCK], s[BLOCK], drive[BLOCK], scaled[BLOCK], of_x[BLOCK];
    if (n.learned)
        for (long i = 0; i < count; i++) drive[i] = x[i] - v[i];
    advance(n, x, v, u, s, count);
    if (n.charge == DIVIDE) {
        for (long i = 0; i < count; i++) scaled[i] = grad[i] / rate;
        grad = scaled;
    }
    F *to = add ? of_x : out;
    slope(n, grad, u, to, count);
    double of_rate = 0;
    if (n.learned)
        for (long i = 0; i < count; i++) of_rate += double(drive[i] * to[i]);
    if (n.charge == MULTIPLY)
        for (long i = 0; i < count; i++) to[i] *= rate;
    if (add)
        for (long i = 0; i < count; i++) out[i] += of_x[i];
    return of_rate;
}

// The gradient of x [steps, units], and by block the share of that of the rate.
template <class F>
void gradients(const Neuron &n, const F *x, const F *grad, long grad_apart, F *of_x, double *of_rate) {
    long blocks = (n.units + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(n.threads)
    for (long block = 0; block < blocks; block++) {
        long first = block * BLOCK, count = std::min(BLOCK, n.units - first);
        F v[BLOCK] = {};
        double sum = 0;
        for (long t = 0; t < n.steps; t++)
            sum += gradient(n, x + t * n.apart + first, grad + t * grad_apart + first, v,
                            of_x + t * n.units + first, count, false);
        of_rate[block] = sum;
    }
}

// Max pooling of images [height, width, channels] with a square window.
struct Pooling {
    long images, height, width, channels, kernel, stride, padding;

    long units() const { return height * width * channels; }
    long tall() const { return (height + 2 * padding - kernel) / stride + 1; }
    long wide() const { return (width + 2 * padding - kernel) / stride + 1; }
    long pooled() const { return tall() * wide() * channels; }
};

// bits[unit] has the spike of step t in bit t.
template <class F>
void encode(const Neuron &n, const F *x, long units, uint32_t *bits) {
    F v[BLOCK], u[BLOCK], s[BLOCK];
    for (long first = 0; first < units; first += BLOCK) {
        long count = std::min(BLOCK, units - first);
        uint32_t *to = bits + first;
        std::fill(v, v + count, F(0));
        std::fill(to, to + count, 0);
        for (long t = 0; t < n.steps; t++) {
            advance(n, x + t * n.apart + first, v, u, s, count);
            for (long i = 0; i < count; i++) to[i] |= uint32_t(int32_t(s[i])) << t;
        }
    }
}

// The units of a window in the order of rows and columns: visit(unit), the first of C channels.
template <class Visit>
void in_window(const Pooling &p, long row, long column, Visit visit) {
    long top = row * p.stride - p.padding, left = column * p.stride - p.padding;
    for (long i = std::max(0L, top); i < std::min(p.height, top + p.kernel); i++)
        for (long j = std::max(0L, left); j < std::min(p.width, left + p.kernel); j++)
            visit((i * p.width + j) * p.channels);
}

// The maxima of the spikes, [steps, images, tall, wide, channels]: the OR of the bits in a window.
template <class F>
void pooled(const Neuron &n, const F *x, const Pooling &p, F *out) {
#pragma omp parallel num_threads(n.threads)
    {
        std::vector<uint32_t> bits(p.units()), fired(p.channels);
#pragma omp for
        for (long image = 0; image < p.images; image++) {
            encode(n, x + image * p.units(), p.units(), bits.data());
            F *to = out + image * p.pooled();
            for (long row = 0; row < p.tall(); row++)
                for (long column = 0; column < p.wide(); column++, to += p.channels) {
                    std::fill(fired.begin(), fired.end(), 0);
                    in_window(p, row, column, [&](long unit) {
                        for (long c = 0; c < p.channels; c++) fired[c] |= bits[unit + c];
                    });
                    for (long t = 0; t < n.steps; t++)
                        for (long c = 0; c < p.channels; c++)
                            to[t * p.images * p.pooled() + c] = F(int32_t(fired[c] >> t & 1));
                }
        }
    }
}

// The gradient of x from that of the maxima: each goes to the first spike of its window, or if there is none to the
// window's first unit. x that is the same in all steps has one gradient, their sum. of_rate has a share by image.
template <class F>
void pooled_gradients(const Neuron &n, const F *x, const Pooling &p, const F *grad, F *of_x, double *of_rate) {
    const uint32_t all = n.steps == 32 ? ~0u : (1u << n.steps) - 1;
    const bool repeated = n.apart == 0;
#pragma omp parallel num_threads(n.threads)
    {
        std::vector<uint32_t> bits(p.units()), fired(p.channels), taken(p.channels);
        std::vector<F> of_s(n.steps * p.units());
#pragma omp for
        for (long image = 0; image < p.images; image++) {
            const F *current = x + image * p.units(), *from = grad + image * p.pooled();
            encode(n, current, p.units(), bits.data());
            std::fill(of_s.begin(), of_s.end(), F(0));
            for (long row = 0; row < p.tall(); row++)
                for (long column = 0; column < p.wide(); column++, from += p.channels) {
                    std::fill(fired.begin(), fired.end(), 0);
                    in_window(p, row, column, [&](long unit) {
                        for (long c = 0; c < p.channels; c++) fired[c] |= bits[unit + c];
                    });
                    std::fill(taken.begin(), taken.end(), 0);
                    bool first = true;
                    in_window(p, row, column, [&](long unit) {
                        uint32_t chosen[BLOCK];
                        for (long start = 0; start < p.channels; start += BLOCK) {
                            long count = std::min(BLOCK, p.channels - start);
                            uint32_t *done = taken.data() + start;
                            const uint32_t *any = fired.data() + start, *spikes = bits.data() + unit + start;
                            for (long c = 0; c < count; c++) {
                                uint32_t here = spikes[c] | (first ? all & ~any[c] : 0);
                                chosen[c] = here & ~done[c];
                                done[c] |= here;
                            }
                            for (long t = 0; t < n.steps; t++) {
                                F *to = of_s.data() + t * p.units() + unit + start;
                                const F *given = from + t * p.images * p.pooled() + start;
                                for (long c = 0; c < count; c++)
                                    to[c] += chosen[c] >> t & 1 ? given[c] : F(0);
                            }
                        }
                        first = false;
                    });
                }
            double sum = 0;
            for (long unit = 0; unit < p.units(); unit += BLOCK) {
                long count = std::min(BLOCK, p.units() - unit);
                F v[BLOCK] = {};
                for (long t = 0; t < n.steps; t++) {
                    F *to = of_x + (repeated ? 0 : t * n.units) + image * p.units() + unit;
                    sum += gradient(n, current + t * n.apart + unit, of_s.data() + t * p.units() + unit, v, to,
                                    count, repeated && t > 0);
                }
            }
            of_rate[image] = sum;
        }
    }
}

}  // namespace

#define OF_TYPE(F, name)                                                                                         \
    void neuron_spikes_##name(const Neuron *n, const F *x, F *s) { spikes(*n, x, s); }                                  \
    void neuron_gradients_##name(const Neuron *n, const F *x, const F *grad, long apart, F *of_x, double *of_rate) { \
        gradients(*n, x, grad, apart, of_x, of_rate);                                                            \
    }                                                                                                            \
    void neuron_pooled_##name(const Neuron *n, const F *x, const Pooling *p, F *out) { pooled(*n, x, *p, out); } \
    void neuron_pooled_gradients_##name(const Neuron *n, const F *x, const Pooling *p, const F *grad, F *of_x,   \
                                        double *of_rate) {                                                       \
        pooled_gradients(*n, x, *p, grad, of_x, of_rate);                                                        \
    }

extern "C" {
OF_TYPE(float, float32)
OF_TYPE(double, float64)
}
