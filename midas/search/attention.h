/* Mosaic attention and the pair rule on one patch p, and their gradients: methods/midas.py
 * and edge_pairs.py in C. */

#define EPSILON 1e-5 /* as in torch's layer_norm */

static long pair_count(long n) { return n == 1 ? 1 : n * (n - 1) / 2; }

FAST real sum_of(const long C, const real *values) {
    real sum = 0;
    for (long c = 0; c < C; c++)
        sum += values[c];
    return sum;
}

/* Write x [C], which is `mean_pixel` [C] layer-normalised; return 1 / its standard deviation. */
FAST real layer_norm(const long C, const real *mean_pixel, real *restrict x) {
    real mean = sum_of(C, mean_pixel) / C, square = 0;
    for (long c = 0; c < C; c++) {
        x[c] = mean_pixel[c] - mean;
        square += x[c] * x[c];
    }
    real inv_std = 1 / sqrt(square / C + (real)EPSILON);
    for (long c = 0; c < C; c++)
        x[c] *= inv_std;
    return inv_std;
}

/* To `out`, add scale * the gradient by what was normalised to x, from that by x. */
FAST void layer_norm_backward(const long C, const real *x, const real *grad_x, real inv_std,
                              real scale, real *restrict out) {
    real mean = 0, along = 0;
    for (long c = 0; c < C; c++) {
        mean += grad_x[c];
        along += grad_x[c] * x[c];
    }
    mean /= C;
    along /= C;
    for (long c = 0; c < C; c++)
        out[c] += scale * inv_std * (grad_x[c] - mean - x[c] * along);
}

typedef struct { /* of a candidate */
    real value;         /* the logit */
    real mean, inv_std; /* of its output's patch mean, over channels */
} Logit;

/* The logit of a candidate whose output has the patch mean share * sum [C]. One pass over channels
 * takes mean and variance about the first channel's value, which keeps digits. key_query_sum is the
 * sum of key_query. */
FAST Logit logit(const long C, const real *sum, real share, const real *key_query,
                 real key_query_sum) {
    real first = sum[0], mean = 0, square = 0, product = 0;
    for (long c = 0; c < C; c++) {
        real x = sum[c] - first;
        mean += x;
        square += x * x;
        product += x * key_query[c];
    }
    mean /= C;
    real variance = (square / C - mean * mean) * share * share;
    real inv_std = 1 / sqrt((variance < 0 ? 0 : variance) + (real)EPSILON);
    real value = share * inv_std * (product - mean * key_query_sum);
    return (Logit){value, share * (first + mean), inv_std};
}

/* From the inputs' means, write the query [d] and key_query [C], the query in the space of the
 * outputs' means: q . (W k) = (W^T q) . k. */
FAST void project_query(const Attention *a, const long C, long p, const Workspace *w) {
    long n = a->edges, d = a->width;
    real scale = 1 / sqrt((real)d), *restrict key_query = w->key_query;
    for (long i = 0; i < n; i++)
        w->inv_std[i] = layer_norm(C, a->inputs[i] + p * C, w->pooled + i * C);
    for (long c = 0; c < C; c++)
        key_query[c] = 0;
    for (long j = 0; j < d; j++) {
        real value = a->bias[j];
        for (long x = 0; x < n * C; x++)
            value += a->query[j * n * C + x] * w->pooled[x];
        w->query[j] = value *= scale;
        for (long c = 0; c < C; c++)
            key_query[c] += value * a->key[j * C + c];
    }
}

/* After project_query: from grad_key_query, add the gradients by the projections and the inputs.
 * The gradient of an input that is a candidate's output is added to grads->keys. */
FAST void project_query_backward(const Attention *a, const AttentionGrads *grads, const long C,
                                 long p, real share, const Workspace *w) {
    long n = a->edges, d = a->width, thread_row = omp_get_thread_num() * d;
    real scale = 1 / sqrt((real)d), *restrict grad_pooled = w->grad_pooled;
    for (long x = 0; x < n * C; x++)
        grad_pooled[x] = 0;
    for (long j = 0; j < d; j++) {
        real grad = 0;
        for (long c = 0; c < C; c++)
            grad += a->key[j * C + c] * w->grad_key_query[c];
        grad *= scale;
        for (long x = 0; x < n * C; x++)
            grad_pooled[x] += grad * a->query[j * n * C + x];
        if (grads->query) {
            real *restrict out = grads->query + (thread_row + j) * n * C;
            for (long x = 0; x < n * C; x++)
                out[x] += grad * w->pooled[x];
        }
        if (grads->bias) grads->bias[thread_row + j] += grad;
        if (grads->key) {
            real *restrict out = grads->key + (thread_row + j) * C;
            for (long c = 0; c < C; c++)
                out[c] += w->query[j] * w->grad_key_query[c];
        }
    }
    for (long i = 0; i < n; i++) {
        const real *x = w->pooled + i * C, *grad_x = grad_pooled + i * C;
        long skip = a->skips[i];
        if (skip >= 0) {
            real *out = grads->keys + (p * a->first[n] + skip) * C;
            layer_norm_backward(C, x, grad_x, w->inv_std[i], share, out);
        } else if (grads->inputs[i]) {
            layer_norm_backward(C, x, grad_x, w->inv_std[i], 1, grads->inputs[i] + p * C);
        }
    }
}

/* From the logits [E], write the patch's op_weights, mixing and, by the pair rule, pair_probs and
 * edge_probs; scores [n] is scratch. */
static void softmax_pairs(const Attention *a, long p, const real *logits, real *scores) {
    long n = a->edges, most = a->max_ops;
    real *mixing = a->mixing + p * a->first[n], *op_weights = a->op_weights + p * n * most;
    for (long i = 0; i < n; i++, op_weights += most) {
        long first = a->first[i], ops = a->first[i + 1] - first;
        real top = logits[first], sum = 0;
        for (long j = 1; j < ops; j++)
            top = logits[first + j] > top ? logits[first + j] : top;
        for (long j = 0; j < ops; j++)
            sum += op_weights[j] = exp(logits[first + j] - top);
        for (long j = 0; j < most; j++)
            op_weights[j] = j < ops ? op_weights[j] / sum : 0;
        for (long j = 0; j < ops; j++)
            mixing[first + j] = op_weights[j];
        if (a->pair_rule) scores[i] = top + log(sum);
    }
    if (!a->pair_rule) return;
    real *pair_probs = a->pair_probs + p * pair_count(n), *edge_probs = a->edge_probs + p * n;
    for (long i = 0; i < n; i++)
        edge_probs[i] = n <= 2;
    pair_probs[0] = 1;
    if (n <= 2) return;
    real top = -INFINITY, sum = 0;
    for (long i = 0; i < n; i++)
        for (long k = i + 1; k < n; k++)
            top = scores[i] + scores[k] > top ? scores[i] + scores[k] : top;
    for (long i = 0, pair = 0; i < n; i++)
        for (long k = i + 1; k < n; k++)
            sum += pair_probs[pair++] = exp(scores[i] + scores[k] - top);
    for (long i = 0, pair = 0; i < n; i++)
        for (long k = i + 1; k < n; k++, pair++) {
            pair_probs[pair] /= sum;
            edge_probs[i] += pair_probs[pair];
            edge_probs[k] += pair_probs[pair];
        }
    for (long i = 0; i < n; i++)
        for (long e = a->first[i]; e < a->first[i + 1]; e++)
            mixing[e] *= edge_probs[i];
}

/* From grad_mixing [E], write the gradient by the logits [E] of patch p; grad_edges [n] is
 * scratch. */
static void softmax_pairs_backward(const Attention *a, const AttentionGrads *grads, long p,
                                   const real *grad_mixing, real *grad_edges, real *grad_logits) {
    long n = a->edges, most = a->max_ops, pairs = pair_count(n);
    long chosen = a->pair_rule && n > 2; /* else no edge is left out, and scores have no gradient */
    const real *op_weights = a->op_weights + p * n * most;
    const real *pair_probs = chosen ? a->pair_probs + p * pairs : NULL;
    const real *edge_probs = chosen ? a->edge_probs + p * n : NULL;
    const real *grad_op_weights = grads->op_weights ? grads->op_weights + p * n * most : NULL;
    const real *grad_pairs = grads->pair_probs ? grads->pair_probs + p * pairs : NULL;
    real mean = 0;
    for (long i = 0; chosen && i < n; i++) {
        grad_edges[i] = grads->edge_probs ? grads->edge_probs[p * n + i] : 0;
        for (long e = a->first[i]; e < a->first[i + 1]; e++)
            grad_edges[i] += grad_mixing[e] * op_weights[i * most + e - a->first[i]];
    }
    for (long i = 0, pair = 0; chosen && i < n; i++)
        for (long k = i + 1; k < n; k++, pair++) {
            real grad = grad_edges[i] + grad_edges[k] + (grad_pairs ? grad_pairs[pair] : 0);
            mean += pair_probs[pair] * grad;
        }
    for (long i = 0; i < n; i++) {
        real grad_score = 0, sum = 0;
        for (long j = 0, pair = 0; chosen && j < n; j++)
            for (long k = j + 1; k < n; k++, pair++) {
                if (j != i && k != i) continue;
                real grad = grad_edges[j] + grad_edges[k] + (grad_pairs ? grad_pairs[pair] : 0);
                grad_score += pair_probs[pair] * (grad - mean);
            }
        for (long e = a->first[i]; e < a->first[i + 1]; e++) {
            long j = i * most + e - a->first[i];
            real direct = grad_op_weights ? grad_op_weights[j] : 0;
            grad_logits[e] = grad_mixing[e] * (chosen ? edge_probs[i] : 1) + direct;
            sum += grad_logits[e] * op_weights[j];
        }
        for (long e = a->first[i]; e < a->first[i + 1]; e++) {
            real weight = op_weights[i * most + e - a->first[i]];
            grad_logits[e] = weight * (grad_logits[e] - sum + grad_score);
        }
    }
}
