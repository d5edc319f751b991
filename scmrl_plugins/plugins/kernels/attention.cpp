// Attention without softmax, head by head, for tokens whose channels are adjacent, called by attention.py, which
// describes the method.

namespace {

// Channels that are taken together, and the most of a head. As in attention.py.
constexpr long TILE = 8, WIDEST = 32;

// `groups` attend each by itself: rows of channels, `heads` times `size`. Values between the starts of two groups and
// of two rows, for queries and for keys, which values and their gradients share.
struct Attention {
    long groups, heads, size, queries, keys, query_group, query_row, key_group, key_row, threads;
    double scale;
};

// GCC and Clang map this to the registers available.
template <class F>
struct Vector {
    typedef F type __attribute__((vector_size(TILE * sizeof(F)), aligned(sizeof(F))));
};

// The channels of a head in the rows of a group.
template <class F>
struct Rows {
    F *first;
    long count, apart;

    F *operator[](long i) const { return first + i * apart; }
};

// out = scale a^T b, channels by channels.
template <class F>
inline void correlate(Rows<const F> a, Rows<const F> b, F scale, F *out, long size) {
    using V = typename Vector<F>::type;
    for (long i = 0; i < size; i += TILE)
        for (long j = 0; j < size; j += TILE) {
            V sums[TILE] = {};
            for (long row = 0; row < a.count; row++) {
                const F *left = a[row] + i;
                V right = *(const V *)(b[row] + j);
#pragma GCC unroll 8
                for (long n = 0; n < TILE; n++) sums[n] += left[n] * right;
            }
#pragma GCC unroll 8
            for (long n = 0; n < TILE; n++) *(V *)(out + (i + n) * size + j) = scale * sums[n];
        }
}

// out = scale a matrix for COUNT rows from `row` on.
template <long COUNT, class F>
inline void multiply(Rows<const F> a, long row, const F *matrix, F scale, Rows<F> out, long size) {
    using V = typename Vector<F>::type;
    for (long j = 0; j < size; j += TILE) {
        V sums[COUNT] = {};
        for (long i = 0; i < size; i += TILE)
#pragma GCC unroll 8
            for (long n = 0; n < TILE; n++) {
                V right = *(const V *)(matrix + (i + n) * size + j);
#pragma GCC unroll 4
                for (long r = 0; r < COUNT; r++) sums[r] += a[row + r][i + n] * right;
            }
#pragma GCC unroll 4
        for (long r = 0; r < COUNT; r++) *(V *)(out[row + r] + j) = scale * sums[r];
    }
}

template <class F>
inline void multiply(Rows<const F> a, const F *matrix, F scale, Rows<F> out, long size) {
    long row = 0;
    for (; row + 4 <= a.count; row += 4) multiply<4>(a, row, matrix, scale, out, size);
    for (; row < a.count; row++) multiply<1>(a, row, matrix, scale, out, size);
}

template <class F>
inline void transpose(const F *matrix, long size, F *out) {
    for (long i = 0; i < size; i++)
        for (long j = 0; j < size; j++) out[j * size + i] = matrix[i * size + j];
}

// visit(offset of queries, offset of keys) for each group and head.
template <class Visit>
void each(const Attention &a, Visit visit) {
#pragma omp parallel for num_threads(a.threads)
    for (long group = 0; group < a.groups; group++)
        for (long head = 0; head < a.heads; head++)
            visit(group * a.query_group + head * a.size, group * a.key_group + head * a.size);
}

// out = q (k^T v) scale.
template <class F>
void attend(const Attention &a, const F *q, const F *k, const F *v, F *out) {
    each(a, [&](long query, long key) {
        F matrix[WIDEST * WIDEST];
        correlate<F>({k + key, a.keys, a.key_row}, {v + key, a.keys, a.key_row}, 1, matrix, a.size);
        multiply<F>({q + query, a.queries, a.query_row}, matrix, F(a.scale), {out + query, a.queries, a.query_row},
                    a.size);
    });
}

// From the gradient g of out: of_q = g (k^T v)^T scale; of_v = k G and of_k = v G^T with G = q^T g scale.
template <class F>
void gradients(const Attention &a, const F *g, const F *q, const F *k, const F *v, F *of_q, F *of_k, F *of_v) {
    each(a, [&](long query, long key) {
        F matrix[WIDEST * WIDEST], turned[WIDEST * WIDEST], scale = F(a.scale);
        Rows<const F> grad{g + query, a.queries, a.query_row}, keys{k + key, a.keys, a.key_row},
            values{v + key, a.keys, a.key_row};
        correlate(values, keys, scale, turned, a.size);
        multiply<F>(grad, turned, 1, {of_q + query, a.queries, a.query_row}, a.size);
        correlate<F>({q + query, a.queries, a.query_row}, grad, scale, matrix, a.size);
        multiply<F>(keys, matrix, 1, {of_v + key, a.keys, a.key_row}, a.size);
        transpose(matrix, a.size, turned);
        multiply<F>(values, turned, 1, {of_k + key, a.keys, a.key_row}, a.size);
    });
}

}  // namespace

// Real is float or double, as the compiler is told.
extern "C" {
void attention_forward(const Attention *a, const Real *q, const Real *k, const Real *v, Real *out) {
    attend(*a, q, k, v, out);
}
void attention_gradients(const Attention *a, const Real *g, const Real *q, const Real *k, const Real *v, Real *of_q,
                                Real *of_k, Real *of_v) {
    gradients(*a, g, q, k, v, of_q, of_k, of_v);
}
}
