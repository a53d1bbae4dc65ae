/* A node of the supernet on a CPU: the weighted sum of its candidate maps, mosaic attention, and the gradients of both.
 *
 * Maps are [B, H, W, C] in memory (channels_last), E of them, each at an address of its own. The work is cut into strips, the
 * rows of patches of a sample: what a strip needs of all maps fits the cache, so that a map is read from memory once in a
 * forward and once in a backward pass, and its gradient written once. `real` is float or double. Formulas: docs/method.md;
 * the same in torch, which tests compare with: midas/search/attention.py, topology.py, mixture.py.
 */
#include "node.h"
#include "attention.h"

/* Over each patch, channel by channel, [q, e, C]: the sums of the maps and those of their products with by_total. All maps are
 * read side by side: a processor fetches several streams faster than one after the other. */
FAST void gather(const Node *s, const long C, const Strip *t, const Room *room, const int sums, const int products) {
    long length = s->width * C, run = s->patch * C;
    for (long x = 0; x < t->patches * s->count * C; x++) room->sums[x] = room->products[x] = 0;
    for (long r = 0; r < t->rows; r++)
        for (long q = 0; q < t->patches; q++) {
            size_t start = t->start + r * length + q * run, values = least(run, length - q * run);
            const real *g = products ? s->by_total + start : NULL;
            for (long e = 0; e < s->count; e++) {
                const real *f = s->maps[e] + start;
                real *restrict sum = room->sums + (q * s->count + e) * C, *restrict product = room->products + (q * s->count + e) * C;
                for (size_t x = 0; x < values; x += C)
                    for (long c = 0; c < C; c++) {
                        if (sums) sum[c] += f[x + c];
                        if (products) product[c] += f[x + c] * g[x + c];
                    }
            }
        }
}

FAST real added(const long C, const real *values) {
    real sum = 0;
    for (long c = 0; c < C; c++) sum += values[c];
    return sum;
}

/* the weighted sum, two maps at a time: the sum is read and written half as often */
FAST void weigh_strip(const Node *s, const long C, const Strip *t) {
    long length = s->width * C, run = s->patch * C;
    for (long r = 0; r < t->rows; r++)
        for (long q = 0; q < t->patches; q++) {
            size_t start = t->start + r * length + q * run, values = least(run, length - q * run);
            const real *w = t->weights + q * t->stride, *f = s->maps[0] + start;
            real *restrict out = s->total + start;
            for (size_t x = 0; x < values; x++) out[x] = s->count % 2 ? w[0] * f[x] : 0;
            for (long e = s->count % 2; e < s->count; e += 2) {
                const real *g = s->maps[e] + start, *h = s->maps[e + 1] + start;
                for (size_t x = 0; x < values; x++) out[x] += w[e] * g[x] + w[e + 1] * h[x];
            }
        }
}

/* the gradient by the weights */
FAST void weigh_back_strip(const Node *s, const long C, const Strip *t, const Room *room) {
    gather(s, C, t, room, 0, 1);
    for (long x = 0; x < t->patches * s->count; x++)
        s->by_weights[t->number * t->patches * s->count + x] = added(C, room->products + x * C);
}

/* the answers, and the sum by them */
FAST void attend_strip(const Node *s, const long C, const Strip *t, const Room *room) {
    gather(s, C, t, room, 1, 0);
    for (long q = 0; q < t->patches; q++) {
        long p = t->number * t->patches + q, n = s->edges;
        real part = part_of(s, t, q);
        ask(s, C, p, room);
        real whole = added(C, room->back);
        for (long e = 0; e < s->count; e++)
            room->logits[e] = match(s, C, room->sums + (q * s->count + e) * C, part, room->back, whole).logit;
        choose(s, room->logits, room->some, s->weights + p * s->count, s->a + p * n * s->most, s->pi + p * pair_count(n), s->m + p * n);
    }
    weigh_strip(s, C, t);
}

/* the gradients by the projections, by the inputs and, through their keys, by the pixels of the maps */
FAST void attend_back_strip(const Node *s, const long C, const Strip *t, const Room *room) {
    if (s->by_total) gather(s, C, t, room, 1, 1);
    else gather(s, C, t, room, 1, 0);
    for (long q = 0; q < t->patches; q++) {
        long p = t->number * t->patches + q;
        real part = part_of(s, t, q), *restrict by_back = room->by_back, *by_keys = s->by_keys + p * s->count * C;
        for (long e = 0; e < s->count; e++) {
            real given = s->given_weights ? s->given_weights[p * s->count + e] : 0;
            room->by_weights[e] = given + added(C, room->products + (q * s->count + e) * C);
        }
        choose_back(s, p, room->by_weights, room->some, room->logits);
        ask(s, C, p, room);
        real whole = added(C, room->back), mean = s->normalise ? whole / C : 0;
        for (long c = 0; c < C; c++) by_back[c] = 0;
        for (long e = 0; e < s->count; e++) {
            const real *sum = room->sums + (q * s->count + e) * C;
            Match found = match(s, C, sum, part, room->back, whole);
            real by = room->logits[e], along = s->normalise ? found.logit / C : 0, scale = by * part * found.inverse;
            real *restrict to = by_keys + e * C;
            for (long c = 0; c < C; c++) {
                real key = (part * sum[c] - found.mean) * found.inverse;
                by_back[c] += by * key;
                to[c] = scale * (room->back[c] - mean - key * along);
            }
        }
        ask_back(s, C, p, part, room);
    }
}

/* each wanted map's gradient: its weight times that by the sum, and its key's */
FAST void spread_strip(const Node *s, const long C, const Strip *t, const Room *room) {
    long length = s->width * C, run = s->patch * C;
    for (long e = 0; e < s->count; e++) {
        if (!s->by_maps[e]) continue;
        if (s->by_keys) {
            const real *share = s->by_keys + (t->number * t->patches * s->count + e) * C;
            for (long q = 0; q < t->patches; q++, share += s->count * C)
                for (long x = q * s->patch; x < least((q + 1) * s->patch, s->width); x++)
                    for (long c = 0; c < C; c++) room->line[x * C + c] = share[c];
        }
        for (long r = 0; r < t->rows; r++)
            for (long q = 0; q < t->patches; q++) {
                size_t start = t->start + r * length + q * run;
                long values = least(run, length - q * run);
                const real *from = s->by_total + start, *more = room->line + q * run;
                real *restrict out = s->by_maps[e] + start, w = t->weights[q * t->stride + e];
                if (s->by_keys) for (long x = 0; x < values; x++) out[x] = w * from[x] + more[x];
                else for (long x = 0; x < values; x++) out[x] = w * from[x];
            }
    }
}

/* A kernel: `work` on every strip t, with C channels and a thread's room. C is a constant for the usual numbers of channels, so
 * that loops over it are unrolled. */
#define CASE(number, work) case number: { enum { C = number }; work; break; }
#define KERNEL(name, work) \
    void name(const Node *s) { \
        _Pragma("omp parallel num_threads(s->threads)") \
        { \
            Room own = room_of(s), *room = &own; \
            _Pragma("omp for schedule(static)") \
            for (long number = 0; number < s->batch * down(s); number++) { \
                Strip strip = strip_of(s, number), *t = &strip; \
                (void)room; \
                switch (s->channels) { \
                    CASE(16, work) CASE(32, work) CASE(64, work) \
                    default: { const long C = s->channels; work; } \
                } \
            } \
            free(own.line); \
        } \
    }

KERNEL(weigh, weigh_strip(s, C, t))
KERNEL(weigh_back, weigh_back_strip(s, C, t, room))
KERNEL(attend, attend_strip(s, C, t, room))
KERNEL(attend_back, attend_back_strip(s, C, t, room))
KERNEL(spread, spread_strip(s, C, t, room))
