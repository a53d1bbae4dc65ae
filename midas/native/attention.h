/* Mosaic attention and the pair rule on one patch, and their gradients: midas/search/attention.py and topology.py in C. */

#define EPSILON 1e-5 /* of torch's layer_norm */

/* (x - mean) / deviation over the channels of part * sum, or that itself; returns 1 / deviation */
FAST real normalise(const Node *s, const long C, const real *sum, real part, real *restrict x) {
    real mean = 0, square = 0;
    for (long c = 0; c < C; c++) x[c] = sum[c] * part;
    if (!s->normalise) return 1;
    for (long c = 0; c < C; c++) mean += x[c];
    mean /= C;
    for (long c = 0; c < C; c++) { x[c] -= mean; square += x[c] * x[c]; }
    real inverse = 1 / sqrt(square / C + (real)EPSILON);
    for (long c = 0; c < C; c++) x[c] *= inverse;
    return inverse;
}

/* to += scale * the gradient by what was normalised, from that by x, its result */
FAST void normalise_back(const Node *s, const long C, const real *x, const real *by, real inverse, real scale, real *restrict to) {
    real mean = 0, along = 0;
    for (long c = 0; c < C; c++) { mean += by[c]; along += by[c] * x[c]; }
    mean = s->normalise ? mean / C : 0;
    along = s->normalise ? along / C : 0;
    for (long c = 0; c < C; c++) to[c] += scale * inverse * (by[c] - mean - x[c] * along);
}

typedef struct { real logit, mean, inverse; } Match; /* of a query and a key; the key's mean over channels, 1 / deviation */

/* `back` against a candidate's key, part * sum: one pass over the channels, about the first one's value, so that no digits go */
FAST Match match(const Node *s, const long C, const real *sum, real part, const real *back, real whole) {
    real first = sum[0], by_one = 0, by_itself = 0, by_query = 0;
    for (long c = 0; c < C; c++) {
        real x = sum[c] - first;
        by_one += x;
        by_itself += x * x;
        by_query += x * back[c];
    }
    if (!s->normalise) return (Match){part * (by_query + first * whole), 0, 1};
    by_one /= C;
    real variance = (by_itself / C - by_one * by_one) * part * part;
    real inverse = 1 / sqrt((variance < 0 ? 0 : variance) + (real)EPSILON);
    return (Match){part * inverse * (by_query - by_one * whole), part * (first + by_one), inverse};
}

/* from the inputs' means to the query and to `back`, the query in the keys' space: q . (W k) = (W^T q) . k */
FAST void ask(const Node *s, const long C, long p, const Room *room) {
    long n = s->edges, d = s->size;
    real shrink = 1 / sqrt((real)d), *restrict back = room->back;
    for (long i = 0; i < n; i++) room->deviations[i] = normalise(s, C, s->inputs[i] + p * C, 1, room->joined + i * C);
    for (long c = 0; c < C; c++) back[c] = 0;
    for (long j = 0; j < d; j++) {
        real value = s->bias[j];
        for (long x = 0; x < n * C; x++) value += s->query[j * n * C + x] * room->joined[x];
        room->query[j] = value *= shrink;
        for (long c = 0; c < C; c++) back[c] += value * s->key[j * C + c];
    }
}

/* after `ask`: the gradients by projections and inputs from that by `back`; an input that is a map's mean has it with the map's */
FAST void ask_back(const Node *s, const long C, long p, real part, const Room *room) {
    long n = s->edges, d = s->size, first = omp_get_thread_num() * d;
    real shrink = 1 / sqrt((real)d), *restrict by_joined = room->by_joined;
    for (long x = 0; x < n * C; x++) by_joined[x] = 0;
    for (long j = 0; j < d; j++) {
        real by = 0;
        for (long c = 0; c < C; c++) by += s->key[j * C + c] * room->by_back[c];
        by *= shrink;
        for (long x = 0; x < n * C; x++) by_joined[x] += by * s->query[j * n * C + x];
        if (s->by_query) {
            real *restrict to = s->by_query + (first + j) * n * C;
            for (long x = 0; x < n * C; x++) to[x] += by * room->joined[x];
        }
        if (s->by_bias) s->by_bias[first + j] += by;
        if (s->by_key) {
            real *restrict to = s->by_key + (first + j) * C;
            for (long c = 0; c < C; c++) to[c] += room->query[j] * room->by_back[c];
        }
    }
    for (long i = 0; i < n; i++) {
        long e = s->own[i];
        real *to = e < 0 ? s->by_inputs[i] : s->by_keys + (p * s->count + e) * C;
        if (e < 0 && to) to += p * C;
        if (to) normalise_back(s, C, room->joined + i * C, by_joined + i * C, room->deviations[i], e < 0 ? 1 : part, to);
    }
}

/* from logits [E]: the weights [E], a [n, most] and, by the pair rule, pi [pairs] and m [n]; scores is scratch [n] */
static void choose(const Node *s, const real *logits, real *scores, real *weights, real *a, real *pi, real *m) {
    long n = s->edges;
    for (long i = 0; i < n; i++, a += s->most) {
        long first = s->first[i], candidates = s->first[i + 1] - first;
        real top = logits[first], sum = 0;
        for (long j = 1; j < candidates; j++) top = logits[first + j] > top ? logits[first + j] : top;
        for (long j = 0; j < candidates; j++) sum += a[j] = exp(logits[first + j] - top);
        for (long j = 0; j < s->most; j++) a[j] = j < candidates ? a[j] / sum : 0;
        for (long j = 0; j < candidates; j++) weights[first + j] = a[j];
        if (s->pairs) scores[i] = top + log(sum);
    }
    if (!s->pairs) return;
    for (long i = 0; i < n; i++) m[i] = n <= 2;
    pi[0] = 1;
    if (n <= 2) return;
    real top = -INFINITY, sum = 0;
    for (long i = 0; i < n; i++)
        for (long k = i + 1; k < n; k++) top = scores[i] + scores[k] > top ? scores[i] + scores[k] : top;
    for (long i = 0, row = 0; i < n; i++)
        for (long k = i + 1; k < n; k++) sum += pi[row++] = exp(scores[i] + scores[k] - top);
    for (long i = 0, row = 0; i < n; i++)
        for (long k = i + 1; k < n; k++, row++) { pi[row] /= sum; m[i] += pi[row]; m[k] += pi[row]; }
    for (long i = 0; i < n; i++)
        for (long e = s->first[i]; e < s->first[i + 1]; e++) weights[e] *= m[i];
}

/* the gradient by the logits [E] of patch p from that by its weights; by_m is scratch [n] */
static void choose_back(const Node *s, long p, const real *by_weights, real *by_m, real *by_logits) {
    long n = s->edges, rows = pair_count(n), chosen = s->pairs && n > 2;
    const real *a = s->a + p * n * s->most, *pi = s->pi + p * rows, *m = s->m + p * n;
    const real *more_a = s->given_a ? s->given_a + p * n * s->most : NULL, *more = s->given_pi ? s->given_pi + p * rows : NULL;
    real mean = 0;
    for (long i = 0; chosen && i < n; i++) {
        by_m[i] = s->given_m ? s->given_m[p * n + i] : 0;
        for (long e = s->first[i]; e < s->first[i + 1]; e++) by_m[i] += by_weights[e] * a[i * s->most + e - s->first[i]];
    }
    for (long i = 0, row = 0; chosen && i < n; i++)
        for (long k = i + 1; k < n; k++, row++) mean += pi[row] * (by_m[i] + by_m[k] + (more ? more[row] : 0));
    for (long i = 0; i < n; i++) {
        real by_score = 0, sum = 0;
        for (long j = 0, row = 0; chosen && j < n; j++)
            for (long k = j + 1; k < n; k++, row++)
                if (j == i || k == i) by_score += pi[row] * (by_m[j] + by_m[k] + (more ? more[row] : 0) - mean);
        for (long e = s->first[i]; e < s->first[i + 1]; e++) {
            long j = i * s->most + e - s->first[i];
            by_logits[e] = by_weights[e] * (chosen ? m[i] : 1) + (more_a ? more_a[j] : 0);
            sum += by_logits[e] * a[j];
        }
        for (long e = s->first[i]; e < s->first[i + 1]; e++)
            by_logits[e] = a[i * s->most + e - s->first[i]] * (by_logits[e] - sum + by_score);
    }
}
