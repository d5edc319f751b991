// All time steps of an integrate-and-fire neuron in one pass over memory, forward and backward, called by neuron.py.
//
// A block of units is taken through all steps while its membrane is in the L1 cache. Each operation rounds as in the
// neuron's equations op by op, so that spikes have equal bits. A batch norm before the neuron is applied to the same
// block, so that no normalised current is stored.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

constexpr long BLOCK = 512, PART = 16 * BLOCK;

// As in neuron.py.
enum Charge { DIVIDE, MULTIPLY, ADD };
enum Surrogate { SIGMOID, ATAN, GATE, QUADRATIC_GATE, RELU, TRIANGLE, FAST_SIGMOID, GAUSSIAN };

// x has `steps` rows of `units` adjacent values; `apart` values lie between the starts of two rows, 0 where all are
// the same. `learned`: whether the gradient of the rate is wanted. `shared`: whether the steps have one gradient of x,
// their sum.
struct Neuron {
    long steps, units, apart, threads, charge, surrogate, tie, learned, shared;
    double rate, threshold, alpha;
};

// A batch norm: 1 / sqrt(variance + eps) is `rate`, and x becomes x scale + shift of its channel, the last dimension.
template <class F>
struct Norm {
    long channels;
    F *mean, *rate, *scale, *shift, *variance;
};

// Values by channel, repeated, so that those of a block that starts at any channel are adjacent.
template <class F>
std::vector<F> around(const F *values, long channels) {
    std::vector<F> repeated(channels ? channels + BLOCK : 0);
    for (size_t i = 0; i < repeated.size(); i++) repeated[i] = i < size_t(channels) ? values[i] : repeated[i - channels];
    return repeated;
}

// A norm for blocks of units; none is the identity.
template <class F>
struct Normalized {
    const long channels;
    const std::vector<F> mean, scale, shift;

    explicit Normalized(const Norm<F> *norm) : Normalized(norm ? *norm : Norm<F>{}) {}
    explicit Normalized(const Norm<F> &norm)
        : channels(norm.channels),
          mean(around(norm.mean, channels)),
          scale(around(norm.scale, channels)),
          shift(around(norm.shift, channels)) {}

    // The currents of the units from `first` on: x, or in `to` x normalised.
    const F *operator()(const F *x, long first, long count, F *to) const {
        if (!channels) return x;
        const F *a = scale.data() + first % channels, *b = shift.data() + first % channels;
        for (long i = 0; i < count; i++) to[i] = x[i] * a[i] + b[i];
        return to;
    }
};

// By channel the sums of the gradient of the current, and of its product with x - mean.
template <class F>
class Sums {
    const Normalized<F> &norm;
    std::vector<F> plain, centred;

  public:
    explicit Sums(const Normalized<F> &norm)
        : norm(norm), plain(norm.channels ? norm.channels + BLOCK : 0), centred(plain.size()) {}

    void add(const F *x, const F *grad, long first, long count) {
        if (!norm.channels) return;
        long phase = first % norm.channels;
        const F *mean = norm.mean.data() + phase;
        F *one = plain.data() + phase, *other = centred.data() + phase;
        for (long i = 0; i < count; i++) {
            one[i] += grad[i];
            other[i] += grad[i] * (x[i] - mean[i]);
        }
    }

    void write(double *to) const {
        std::fill(to, to + 2 * norm.channels, 0);
        for (size_t first = 0; first < plain.size(); first += norm.channels)
            for (size_t i = first; i < std::min(plain.size(), first + norm.channels); i++) {
                to[i - first] += plain[i];
                to[norm.channels + i - first] += centred[i];
            }
    }
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
void spikes(const Neuron &n, const F *x, const Norm<F> *given, F *s) {
    const Normalized<F> norm(given);
    long blocks = (n.units + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(n.threads)
    for (long block = 0; block < blocks; block++) {
        long first = block * BLOCK, count = std::min(BLOCK, n.units - first);
        F v[BLOCK] = {}, u[BLOCK], z[BLOCK];
        for (long t = 0; t < n.steps; t++) {
            const F *current = norm(x + t * n.apart + first, first, count, z);
            advance(n, current, v, u, s + t * n.units + first, count);
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

// The gradients of a block of currents in all steps: of them, of the rate, and by channel. `at` is the block's first
// unit, from which its channel follows; of_x has `units` between steps.
template <class F>
double block_gradient(const Neuron &n, const Normalized<F> &norm, const F *x, const F *grad, long grad_apart, F *of_x,
                      long at, long count, Sums<F> &sums) {
    F v[BLOCK] = {}, z[BLOCK];
    double of_rate = 0;
    for (long t = 0; t < n.steps; t++) {
        const F *given = x + t * n.apart;
        F *to = of_x + (n.shared ? 0 : t * n.units);
        of_rate += gradient(n, norm(given, at, count, z), grad + t * grad_apart, v, to, count, n.shared && t > 0);
        if (!n.shared || t == n.steps - 1) sums.add(given, to, at, count);
    }
    return of_rate;
}

// The gradient of the current [steps or 1, units], and by part the shares of those of the rate and by channel.
template <class F>
void gradients(const Neuron &n, const F *x, const Norm<F> *given, const F *grad, long grad_apart, F *of_x,
               double *of_rate, double *of_norm) {
    const Normalized<F> norm(given);
    long parts = (n.units + PART - 1) / PART;
#pragma omp parallel for num_threads(n.threads)
    for (long part = 0; part < parts; part++) {
        Sums<F> sums(norm);
        of_rate[part] = 0;
        for (long first = part * PART; first < std::min(n.units, (part + 1) * PART); first += BLOCK)
            of_rate[part] += block_gradient(n, norm, x + first, grad + first, grad_apart, of_x + first, first,
                                            std::min(BLOCK, n.units - first), sums);
        sums.write(of_norm + part * 2 * norm.channels);
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
void encode(const Neuron &n, const Normalized<F> &norm, const F *x, long units, uint32_t *bits) {
    F v[BLOCK], u[BLOCK], s[BLOCK], z[BLOCK];
    for (long first = 0; first < units; first += BLOCK) {
        long count = std::min(BLOCK, units - first);
        uint32_t *to = bits + first;
        std::fill(v, v + count, F(0));
        std::fill(to, to + count, 0);
        for (long t = 0; t < n.steps; t++) {
            advance(n, norm(x + t * n.apart + first, first, count, z), v, u, s, count);
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
void pooled(const Neuron &n, const F *x, const Norm<F> *given, const Pooling &p, F *out) {
    const Normalized<F> norm(given);
#pragma omp parallel num_threads(n.threads)
    {
        std::vector<uint32_t> bits(p.units()), fired(p.channels);
#pragma omp for
        for (long image = 0; image < p.images; image++) {
            encode(n, norm, x + image * p.units(), p.units(), bits.data());
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

// LANES numbers, in the registers that GCC and Clang find available.
template <class Number, long LANES>
struct Lanes {
    typedef Number type __attribute__((vector_size(LANES * sizeof(Number)), aligned(sizeof(Number))));
};

// Adds the gradients of LANES maxima to those of the spikes, [steps, units]: each goes to the first spike of its window,
// or if there is none to the window's first unit.
template <long LANES, class F>
void hand_back(const Neuron &n, const Pooling &p, long row, long column, const uint32_t *bits, const F *grad, F *of_s) {
    using Bits = typename Lanes<int32_t, LANES>::type;
    using Mask = typename Lanes<std::conditional_t<sizeof(F) == 4, int32_t, int64_t>, LANES>::type;
    using Values = typename Lanes<F, LANES>::type;
    const long units = p.units(), apart = p.images * p.pooled(), steps = n.steps;
    Bits fired = {}, taken = {};
    in_window(p, row, column, [&](long unit) { fired |= *(const Bits *)(bits + unit); });
    const Bits idle = ~fired;
    in_window(p, row, column, [&](long unit) {
        Bits here = *(const Bits *)(bits + unit) | idle, chosen = here & ~taken;
        taken |= here;
        F *to = of_s + unit;
        const F *given = grad;
        for (long t = 0; t < steps; t++, to += units, given += apart) {
            Mask mask = __builtin_convertvector(chosen << (31 - t) >> 31, Mask);
            *(Values *)to += (Values)(mask & (Mask) * (const Values *)given);
        }
    });
}

// The gradient of x from that of the maxima. of_rate and of_norm have a share by image.
template <class F>
void pooled_gradients(const Neuron &n, const F *x, const Norm<F> *given, const Pooling &p, const F *grad, F *of_x,
                      double *of_rate, double *of_norm) {
    constexpr long LANES = 8;
    const Normalized<F> norm(given);
#pragma omp parallel num_threads(n.threads)
    {
        std::vector<uint32_t> bits(p.units());
        std::vector<F> of_s(n.steps * p.units());
#pragma omp for
        for (long image = 0; image < p.images; image++) {
            const F *current = x + image * p.units(), *from = grad + image * p.pooled();
            encode(n, norm, current, p.units(), bits.data());
            std::fill(of_s.begin(), of_s.end(), F(0));
            for (long row = 0; row < p.tall(); row++)
                for (long column = 0; column < p.wide(); column++, from += p.channels) {
                    long c = 0;
                    for (; c + LANES <= p.channels; c += LANES)
                        hand_back<LANES>(n, p, row, column, bits.data() + c, from + c, of_s.data() + c);
                    for (; c < p.channels; c++)
                        hand_back<1>(n, p, row, column, bits.data() + c, from + c, of_s.data() + c);
                }
            Sums<F> sums(norm);
            of_rate[image] = 0;
            for (long unit = 0; unit < p.units(); unit += BLOCK)
                of_rate[image] +=
                    block_gradient(n, norm, current + unit, of_s.data() + unit, p.units(),
                                   of_x + image * p.units() + unit, unit, std::min(BLOCK, p.units() - unit), sums);
            sums.write(of_norm + image * 2 * norm.channels);
        }
    }
}

// Mean and variance of a channel over x [rows, channels]: of parts that fit the L1 cache by two passes, and then those
// of all parts (Chan, Golub and LeVeque, 1979).
template <class F>
void statistics(const F *x, long rows, long channels, long threads, double *mean, double *variance) {
    const long period = channels * std::max(1L, BLOCK / channels), part = 8 * period / channels;
    const long parts = (rows + part - 1) / part;
    std::vector<double> means(parts * channels), squares(parts * channels);
#pragma omp parallel num_threads(threads)
    {
        std::vector<F> sums(period), centre(period);
#pragma omp for
        for (long p = 0; p < parts; p++) {
            long count = std::min(part, rows - p * part);
            const F *values = x + p * part * channels;
            double *m = means.data() + p * channels, *s = squares.data() + p * channels;
            auto add = [&](auto term) {
                std::fill(sums.begin(), sums.end(), F(0));
                for (long first = 0; first < count * channels; first += period) {
                    long length = std::min(period, count * channels - first);
                    F *to = sums.data();
                    for (long i = 0; i < length; i++) to[i] += term(values[first + i], i);
                }
            };
            add([](F value, long) { return value; });
            for (long first = 0; first < period; first += channels)
                for (long c = 0; c < channels; c++) m[c] += sums[first + c];
            for (long c = 0; c < channels; c++) m[c] /= count;
            for (long first = 0; first < period; first += channels) std::copy(m, m + channels, &centre[first]);
            const F *around = centre.data();
            add([&](F value, long i) { return (value - around[i]) * (value - around[i]); });
            for (long first = 0; first < period; first += channels)
                for (long c = 0; c < channels; c++) s[c] += sums[first + c];
            for (long c = 0; c < channels; c++) s[c] -= count * (m[c] - centre[c]) * (m[c] - centre[c]);
        }
    }
    std::fill(mean, mean + channels, 0);
    std::fill(variance, variance + channels, 0);
    for (long p = 0; p < parts; p++) {
        double before = double(p * part), count = std::min(part, rows - p * part), all = before + count;
        for (long c = 0; c < channels; c++) {
            double apart = means[p * channels + c] - mean[c];
            mean[c] += apart * count / all;
            variance[c] += squares[p * channels + c] + apart * apart * before * count / all;
        }
    }
    for (long c = 0; c < channels; c++) variance[c] /= rows;
}

// The norm with the statistics of x [rows, channels], or without x with those that it has.
template <class F>
void prepare(const F *x, const Norm<F> &norm, long rows, double eps, const F *weight, const F *bias, long threads) {
    std::vector<double> mean(norm.mean, norm.mean + norm.channels), variance(norm.variance, norm.variance + norm.channels);
    if (x) statistics(x, rows, norm.channels, threads, mean.data(), variance.data());
    for (long c = 0; c < norm.channels; c++) {
        double rate = 1 / std::sqrt(variance[c] + eps), scale = weight ? rate * weight[c] : rate;
        norm.mean[c] = F(mean[c]);
        norm.variance[c] = F(variance[c]);
        norm.rate[c] = F(rate);
        norm.scale[c] = F(scale);
        norm.shift[c] = F((bias ? bias[c] : 0) - mean[c] * scale);
    }
}

// The gradients of x [rows, channels], in place of that of the current, and of weight and bias, from the sums by
// channel [parts, 2, channels]. `fixed`: whether mean and variance do not depend on x.
template <class F>
void through_norm(const F *x, const Norm<F> &given, const double *sums, long parts, long rows, long fixed, long threads,
                  F *of_x, F *of_weight, F *of_bias) {
    const long channels = given.channels, units = rows * channels;
    std::vector<F> plain(channels), centred(channels);
    for (long c = 0; c < channels; c++) {
        double one = 0, other = 0, rate = given.rate[c];
        for (long part = 0; part < parts; part++) {
            one += sums[part * 2 * channels + c];
            other += sums[(part * 2 + 1) * channels + c];
        }
        of_bias[c] = F(one);
        of_weight[c] = F(other * rate);
        plain[c] = F(fixed ? 0 : one / rows);
        centred[c] = F(fixed ? 0 : other * rate * rate / rows);
    }
    const auto mean = around(given.mean, channels), scale = around(given.scale, channels),
               less = around(plain.data(), channels), slope = around(centred.data(), channels);
#pragma omp parallel for num_threads(threads)
    for (long first = 0; first < units; first += BLOCK) {
        long count = std::min(BLOCK, units - first), phase = first % channels;
        const F *given = x + first, *m = mean.data() + phase, *a = scale.data() + phase, *b = less.data() + phase,
                *k = slope.data() + phase;
        F *to = of_x + first;
        for (long i = 0; i < count; i++) to[i] = (to[i] - b[i] - (given[i] - m[i]) * k[i]) * a[i];
    }
}

}  // namespace

// Real is float or double, as the compiler is told.
extern "C" {
void neuron_spikes(const Neuron *n, const Real *x, const Norm<Real> *norm, Real *s) { spikes(*n, x, norm, s); }
void neuron_gradients(const Neuron *n, const Real *x, const Norm<Real> *norm, const Real *grad, long apart,
                             Real *of_x, double *of_rate, double *of_norm) {
    gradients(*n, x, norm, grad, apart, of_x, of_rate, of_norm);
}
void neuron_pooled(const Neuron *n, const Real *x, const Norm<Real> *norm, const Pooling *p, Real *out) {
    pooled(*n, x, norm, *p, out);
}
void neuron_pooled_gradients(const Neuron *n, const Real *x, const Norm<Real> *norm, const Pooling *p,
                                    const Real *grad, Real *of_x, double *of_rate, double *of_norm) {
    pooled_gradients(*n, x, norm, *p, grad, of_x, of_rate, of_norm);
}
void norm_prepare(const Real *x, const Norm<Real> *norm, long rows, double eps, const Real *weight,
                         const Real *bias, long threads) {
    prepare(x, *norm, rows, eps, weight, bias, threads);
}
void norm_gradients(const Real *x, const Norm<Real> *norm, const double *sums, long parts, long rows,
                           long fixed, long threads, Real *of_x, Real *of_weight, Real *of_bias) {
    through_norm(x, *norm, sums, parts, rows, fixed, threads, of_x, of_weight, of_bias);
}
}
