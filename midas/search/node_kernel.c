/* The mixed operation of a supernet node on a CPU, mosaic attention, and the gradients of both.
 *
 * A node adds up the outputs of its E candidates, each a map [B, H, W, C] in memory (channels_last)
 * at an address of its own. The work is cut into rows of patches of a sample. What one row needs of
 * all maps fits the cache, so each map is read from memory once in a forward pass and once in a
 * backward pass, and its gradient is written once. `real` is float or double. Formulas:
 * docs/method.md. Tests compare the results with the same computation in torch, which stands in
 * midas/search/mixed_op.py, attention.py and topology.py.
 */
#include "node_kernel.h"
#include "attention.h"

enum { OUT_OF_MEMORY = 1 };

/* To sum [C] and product [C], add pixels of f, and of f * g. This is a function because compilers
 * rely on `restrict` in parameters only; otherwise they test at every pixel for overlaps. */
FAST void add_pixels(const long C, size_t values, const real *restrict f, const real *restrict g,
                     real *restrict sum, real *restrict product, const int with_sums,
                     const int with_products) {
    for (size_t x = 0; x < values; x += C)
        for (long c = 0; c < C; c++) {
            if (with_sums) sum[c] += f[x + c];
            if (with_products) product[c] += f[x + c] * g[x + c];
        }
}

/* Over each patch of the row and channel by channel, sum the outputs, and their products with
 * grad_output. All maps are read side by side: a processor fetches several streams faster than one
 * after the other. */
FAST void sum_patches(const Shape *s, const long C, const PatchRow *r,
                      const real *const *op_outputs, const real *grad_output, const Workspace *w,
                      const int with_sums, const int with_products) {
    long row = s->width * C, run = s->patch * C, columns = patch_columns(s);
    for (long x = 0; x < columns * s->candidates * C; x++)
        w->sums[x] = w->products[x] = 0;
    for (long y = 0; y < r->height; y++)
        for (long q = 0; q < columns; q++) {
            size_t start = r->start + y * row + q * run, values = min_long(run, row - q * run);
            const real *g = with_products ? grad_output + start : NULL;
            for (long e = 0; e < s->candidates; e++) {
                long at = (q * s->candidates + e) * C;
                add_pixels(C, values, op_outputs[e] + start, g, w->sums + at, w->products + at,
                           with_sums, with_products);
            }
        }
}

/* The weighted sum, two maps at a time, so that the sum is read and written half as often.
 * `weights` are those of the row's first patch; `stride` leads from one patch to the next. */
FAST void weighted_sum_row(const Shape *s, const long C, const PatchRow *r,
                      const real *const *op_outputs, const real *weights, long stride,
                      real *output) {
    long row = s->width * C, run = s->patch * C, E = s->candidates;
    for (long y = 0; y < r->height; y++)
        for (long q = 0; q < patch_columns(s); q++) {
            size_t start = r->start + y * row + q * run, values = min_long(run, row - q * run);
            const real *v = weights + q * stride, *f = op_outputs[0] + start;
            real *restrict out = output + start;
            for (size_t x = 0; x < values; x++)
                out[x] = E % 2 ? v[0] * f[x] : 0;
            for (long e = E % 2; e < E; e += 2) {
                const real *g = op_outputs[e] + start, *h = op_outputs[e + 1] + start;
                for (size_t x = 0; x < values; x++)
                    out[x] += v[e] * g[x] + v[e + 1] * h[x];
            }
        }
}

/* the gradient of the weighted sum by the weights */
FAST void weights_row_backward(const Shape *s, const long C, const PatchRow *r,
                           const real *const *op_outputs, const real *grad_output,
                           const Workspace *w, real *grad_weights) {
    long count = patch_columns(s) * s->candidates;
    sum_patches(s, C, r, op_outputs, grad_output, w, 0, 1);
    for (long x = 0; x < count; x++)
        grad_weights[r->index * count + x] = sum_of(C, w->products + x * C);
}

/* the weights by mosaic attention, and the weighted sum */
FAST void attend_row(const Shape *s, const Attention *a, const long C, const PatchRow *r,
                 const real *const *op_outputs, const Workspace *w, real *output) {
    long columns = patch_columns(s), E = s->candidates;
    sum_patches(s, C, r, op_outputs, NULL, w, 1, 0);
    for (long q = 0; q < columns; q++) {
        long p = r->index * columns + q;
        real share = pixel_share(s, r, q);
        project_query(a, C, p, w);
        real key_query_sum = sum_of(C, w->key_query);
        for (long e = 0; e < E; e++) {
            const real *sum = w->sums + (q * E + e) * C;
            w->logits[e] = logit(C, sum, share, w->key_query, key_query_sum).value;
        }
        softmax_pairs(a, p, w->logits, w->edges);
    }
    weighted_sum_row(s, C, r, op_outputs, a->mixing + r->index * columns * E, E, output);
}

/* the gradients by the projections, by the inputs and, through keys, by the outputs' pixels */
FAST void attention_row_backward(const Shape *s, const Attention *a, const AttentionGrads *grads,
                          const long C, const PatchRow *r, const real *const *op_outputs,
                          const Workspace *w) {
    long columns = patch_columns(s), E = s->candidates;
    sum_patches(s, C, r, op_outputs, grads->output, w, 1, 1);
    for (long q = 0; q < columns; q++) {
        long p = r->index * columns + q;
        real share = pixel_share(s, r, q), *restrict grad_key_query = w->grad_key_query;
        real *restrict grad_keys = grads->keys + p * E * C, *grad_logits = w->logits;
        for (long e = 0; e < E; e++) {
            real direct = grads->mixing ? grads->mixing[p * E + e] : 0;
            w->grad_mixing[e] = direct + sum_of(C, w->products + (q * E + e) * C);
        }
        softmax_pairs_backward(a, grads, p, w->grad_mixing, w->edges, grad_logits);
        project_query(a, C, p, w);
        real key_query_sum = sum_of(C, w->key_query), mean = key_query_sum / C;
        for (long c = 0; c < C; c++)
            grad_key_query[c] = 0;
        for (long e = 0; e < E; e++) {
            const real *sum = w->sums + (q * E + e) * C;
            Logit l = logit(C, sum, share, w->key_query, key_query_sum);
            real along = l.value / C;
            real grad = grad_logits[e], scale = grad * share * l.inv_std;
            real *restrict out = grad_keys + e * C;
            for (long c = 0; c < C; c++) {
                real key = (share * sum[c] - l.mean) * l.inv_std;
                grad_key_query[c] += grad * key;
                out[c] = scale * (w->key_query[c] - mean - key * along);
            }
        }
        project_query_backward(a, grads, C, p, share, w);
    }
}

/* The gradient by each needed output: its weight times grad_output, and what comes through its
 * key. */
FAST void outputs_row_backward(const Shape *s, const long C, const PatchRow *r, const Mixing *m,
                           const real *grad_output, const real *grad_keys, const Workspace *w,
                           real *const *grad_op_outputs) {
    long row = s->width * C, run = s->patch * C, columns = patch_columns(s), E = s->candidates;
    for (long e = 0; e < E; e++) {
        if (!grad_op_outputs[e]) continue;
        if (grad_keys) {
            const real *grad_key = grad_keys + (r->index * columns * E + e) * C;
            for (long q = 0; q < columns; q++, grad_key += E * C)
                for (long x = q * s->patch; x < min_long((q + 1) * s->patch, s->width); x++)
                    for (long c = 0; c < C; c++)
                        w->pixels[x * C + c] = grad_key[c];
        }
        for (long y = 0; y < r->height; y++)
            for (long q = 0; q < columns; q++) {
                size_t start = r->start + y * row + q * run;
                long values = min_long(run, row - q * run);
                const real *g = grad_output + start, *by_key = w->pixels + q * run;
                real *restrict out = grad_op_outputs[e] + start;
                real weight = row_weights(m, r)[q * m->patch_stride + e];
                if (grad_keys)
                    for (long x = 0; x < values; x++)
                        out[x] = weight * g[x] + by_key[x];
                else
                    for (long x = 0; x < values; x++)
                        out[x] = weight * g[x];
            }
    }
}

/* A kernel does `work` on every row r of patches, with C channels and a thread's workspace w for n
 * edges and queries of width d. It returns 0, or OUT_OF_MEMORY. C is a constant for the usual
 * numbers of channels, so that the compiler unrolls loops over channels. */
#define CASE(number, work) case number: { enum { C = number }; work; break; }
#define KERNEL(name, n, d, work, ...) \
    int name(const Shape *s, __VA_ARGS__) { \
        real *memory = malloc(sizeof(real) * s->threads * workspace_size(s, n, d)); \
        if (!memory) return OUT_OF_MEMORY; \
        _Pragma("omp parallel num_threads(s->threads)") \
        { \
            Workspace scratch = workspace(s, n, d, memory), *w = &scratch; \
            (void)w; \
            _Pragma("omp for schedule(static)") \
            for (long index = 0; index < s->batch * patch_rows(s); index++) { \
                PatchRow current = patch_row(s, index), *r = &current; \
                switch (s->channels) { \
                    CASE(16, work) CASE(32, work) CASE(64, work) \
                    default: { const long C = s->channels; work; } \
                } \
            } \
        } \
        free(memory); \
        return 0; \
    }

KERNEL(weighted_sum, 0, 0,
       weighted_sum_row(s, C, r, op_outputs, row_weights(m, r), m->patch_stride, output),
       const Mixing *m, const real *const *op_outputs, real *output)

KERNEL(weights_backward, 0, 0,
       weights_row_backward(s, C, r, op_outputs, grad_output, w, grad_weights),
       const real *const *op_outputs, const real *grad_output, real *grad_weights)

KERNEL(outputs_backward, 0, 0,
       outputs_row_backward(s, C, r, m, grad_output, grad_keys, w, grad_op_outputs),
       const Mixing *m, const real *grad_output, const real *grad_keys,
       real *const *grad_op_outputs)

KERNEL(attended_sum, a->edges, a->width,
       attend_row(s, a, C, r, op_outputs, w, output),
       const Attention *a, const real *const *op_outputs, real *output)

KERNEL(attention_backward, a->edges, a->width,
       attention_row_backward(s, a, grads, C, r, op_outputs, w),
       const Attention *a, const real *const *op_outputs, const AttentionGrads *grads)
