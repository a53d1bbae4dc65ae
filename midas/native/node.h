/* What the kernels of a node are given, and how they cut it into strips. */
#include <omp.h>
#include <stdlib.h>
#include <tgmath.h>

#define FAST static inline __attribute__((always_inline))

typedef struct { /* as in node.py */
    long batch, height, width, channels;
    long patch;                 /* side in pixels; the last row and column of patches may be smaller */
    long count, edges, most;    /* E, n, and the candidates of the edge that has most */
    long size;                  /* d, of a query */
    long pairs, normalise;      /* whether edges count by the pair rule, else each in full; whether keys are layer-normalised */
    long by_sample, by_patch;   /* whether the weights differ between samples, between patches */
    long threads;
    const long *first;          /* [n + 1]: candidates first[i] to first[i + 1] are those of edge i */
    const long *own;            /* [n]: of which map an input's means are the patch means, or -1 */
    const real *const *maps;    /* [E] */
    const real *const *inputs;  /* [n], patch means [B, Ph, Pw, C] */
    const real *query, *bias, *key; /* projections [d, n * C], [d], [d, C] */
    real *total;                /* the sum, a map */
    real *weights, *a, *pi, *m; /* [B, Ph, Pw, ...]: [E], [n, most], [pairs], [n] */
    /* gradients that are given; NULL: none */
    const real *by_total, *given_weights, *given_a, *given_pi, *given_m;
    /* gradients that are asked for; NULL: not wanted */
    real *by_weights;           /* of each sample and patch, [B, Ph, Pw, E] */
    real *by_keys;              /* by each pixel of a map through its key, [B, Ph, Pw, E, C] */
    real *by_query, *by_bias, *by_key; /* as the projections, for each thread */
    real *const *by_inputs;     /* [n] */
    real *const *by_maps;       /* [E] */
} Node;

typedef struct { /* a row of patches of one sample */
    long number, rows, patches;
    size_t start;        /* of its pixels in a map */
    const real *weights; /* of its first patch */
    long stride;         /* from the weights of one patch to those of the next */
} Strip;

typedef struct { /* a thread's own */
    real *line, *sums, *products;                      /* a row of pixels; of each patch and map, channel by channel */
    real *back, *by_back, *logits, *by_weights, *some; /* [C], [C], [E], [E], [n] */
    real *joined, *by_joined, *deviations;             /* the inputs' means side by side [n * C], 1 / deviation of each [n] */
    real *query;                                       /* [d] */
} Room;

static long least(long a, long b) { return a < b ? a : b; }
static long down(const Node *s) { return (s->height + s->patch - 1) / s->patch; }
static long across(const Node *s) { return (s->width + s->patch - 1) / s->patch; }
static long pair_count(long n) { return n == 1 ? 1 : n * (n - 1) / 2; }

static Strip strip_of(const Node *s, long number) {
    long sample = number / down(s), row = number % down(s), grid = s->by_patch ? down(s) * across(s) : 1;
    Strip strip = {.number = number, .patches = across(s), .stride = s->by_patch ? s->count : 0};
    strip.rows = least(s->patch, s->height - row * s->patch);
    strip.start = (size_t)(sample * s->height + row * s->patch) * s->width * s->channels;
    strip.weights = s->weights + ((s->by_sample ? sample * grid : 0) + (s->by_patch ? row * across(s) : 0)) * s->count;
    return strip;
}

static real part_of(const Node *s, const Strip *t, long q) { /* 1 / pixels of a patch */
    return (real)1 / (t->rows * least(s->patch, s->width - q * s->patch));
}

static Room room_of(const Node *s) {
    long C = s->channels, E = s->count, n = s->edges, sums = across(s) * E * C;
    Room room;
    real **places[] = {&room.line, &room.sums, &room.products, &room.back, &room.by_back, &room.logits,
                       &room.by_weights, &room.some, &room.joined, &room.by_joined, &room.deviations, &room.query};
    long sizes[] = {s->width * C, sums, sums, C, C, E, E, n, n * C, n * C, n, s->size}, whole = 0;
    long count = sizeof(sizes) / sizeof(long);
    for (long k = 0; k < count; k++) whole += sizes[k];
    real *next = malloc(sizeof(real) * whole);
    for (long k = 0; k < count; next += sizes[k++]) *places[k] = next;
    return room;
}
