/* What the kernels of node_kernel.c compute on, and how they cut a map into rows of patches.
 *
 * Letters in shapes: B samples, H x W pixels of a map, C channels, Ph x Pw patches, E candidates
 * (operations on edges) of the node, n incoming edges, d the width of queries and keys.
 */
#include <omp.h>
#include <stdlib.h>
#include <tgmath.h>

#define FAST static inline __attribute__((always_inline))

typedef struct { /* the candidates' outputs; as _Shape in node_kernel.py */
    long batch, height, width, channels;
    long patch;      /* side in pixels; the last row and column of patches may be smaller */
    long candidates; /* E */
    long threads;
} Shape;

typedef struct { /* the candidates' weights [B, Ph, Pw, E]; as _Mixing */
    const real *weights;
    long sample_stride, row_stride, patch_stride; /* 0 where the weights are shared */
} Mixing;

typedef struct { /* mosaic attention of a node; as _Attention */
    long edges;                /* n */
    long max_ops;              /* candidates of the edge that has most */
    long width;                /* d */
    long pair_rule;            /* whether an edge counts with its probability, or in full */
    const long *first;         /* [n + 1]: edge i has candidates first[i] to first[i + 1] - 1 */
    const long *skips;         /* [n]: the candidate whose output is input i itself, or -1 */
    const real *const *inputs; /* [n]: their patch means [B, Ph, Pw, C] */
    const real *query, *bias, *key; /* the projections [d, n * C], [d], [d, C] */
    /* the results [B, Ph, Pw, ...]; the last two by the pair rule only */
    real *mixing;     /* [E] */
    real *op_weights; /* [n, max_ops] */
    real *pair_probs; /* [pairs] */
    real *edge_probs; /* [n] */
} Attention;

typedef struct { /* gradients; as _AttentionGrads */
    const real *output;       /* by the weighted sum */
    const real *mixing, *op_weights, *pair_probs, *edge_probs; /* by the weights; NULL: 0 */
    real *keys;               /* by each pixel of an output through its key, [B, Ph, Pw, E, C] */
    real *query, *bias, *key; /* by the projections, for each thread; NULL: not needed */
    real *const *inputs;      /* [n]: by the inputs' patch means; NULL: not needed */
} AttentionGrads;

typedef struct { /* a row of patches of one sample */
    long index;       /* among the rows of all samples */
    long sample, row; /* the sample, and the row's index in it */
    long height;      /* in pixels */
    size_t start;     /* of its first value in a map */
} PatchRow;

typedef struct { /* scratch of a thread */
    real *pixels;                     /* [W, C]: a row of pixels */
    real *sums, *products;            /* [Pw, E, C]: see sum_patches */
    real *key_query, *grad_key_query; /* [C]: the query in the space of the outputs' means */
    real *logits, *grad_mixing;       /* [E] */
    real *edges;                      /* [n] */
    real *pooled, *grad_pooled;       /* [n, C]: the normalised means of the inputs */
    real *inv_std;                    /* [n]: 1 / their standard deviations */
    real *query;                      /* [d] */
} Workspace;

static long min_long(long a, long b) { return a < b ? a : b; }
static long patch_rows(const Shape *s) { return (s->height + s->patch - 1) / s->patch; }
static long patch_columns(const Shape *s) { return (s->width + s->patch - 1) / s->patch; }

static PatchRow patch_row(const Shape *s, long index) {
    PatchRow r = {.index = index, .sample = index / patch_rows(s), .row = index % patch_rows(s)};
    r.height = min_long(s->patch, s->height - r.row * s->patch);
    r.start = (size_t)(r.sample * s->height + r.row * s->patch) * s->width * s->channels;
    return r;
}

/* 1 / the number of pixels of the row's patch q */
static real pixel_share(const Shape *s, const PatchRow *r, long q) {
    return (real)1 / (r->height * min_long(s->patch, s->width - q * s->patch));
}

/* the weights of the row's first patch */
static const real *row_weights(const Mixing *m, const PatchRow *r) {
    return m->weights + r->sample * m->sample_stride + r->row * m->row_stride;
}

/* a thread's workspace for n edges and queries of width d, from the memory of all threads' */
static long workspace_size(const Shape *s, long n, long d) {
    long C = s->channels, E = s->candidates;
    return s->width * C + 2 * patch_columns(s) * E * C + 2 * C + 2 * E + 2 * n + 2 * n * C + d;
}

static real *take(real **memory, long size) {
    real *part = *memory;
    *memory += size;
    return part;
}

static Workspace workspace(const Shape *s, long n, long d, real *memory) {
    long C = s->channels, E = s->candidates, sums = patch_columns(s) * E * C;
    memory += omp_get_thread_num() * workspace_size(s, n, d);
    return (Workspace){
        .pixels = take(&memory, s->width * C),
        .sums = take(&memory, sums),
        .products = take(&memory, sums),
        .key_query = take(&memory, C),
        .grad_key_query = take(&memory, C),
        .logits = take(&memory, E),
        .grad_mixing = take(&memory, E),
        .edges = take(&memory, n),
        .pooled = take(&memory, n * C),
        .grad_pooled = take(&memory, n * C),
        .inv_std = take(&memory, n),
        .query = take(&memory, d),
    };
}
