/* Batch norm in training on a CPU, if asked for with the ReLU behind it, and its gradients; maps are [B, H, W, C] in memory.
 *
 * Each of its passes over the map, two forward and two backward, is one loop over pixels whose inner loop is over channels. Sums
 * are of differences to a near pixel's values, in `real` over a few pixels and in double over those. `real` is float or
 * double. The same in torch, which tests compare with: torch.nn.functional.batch_norm and relu.
 */
#include <omp.h>
#include <tgmath.h>

enum { FEW = 64 }; /* pixels */

typedef struct { /* as in norm.py */
    long pixels, channels, relu, threads;
    double epsilon, momentum;
    const real *x, *scale, *shift;    /* [pixels, C], [C], [C]; the last two may be NULL */
    real *running_mean, *running_var; /* [C]; NULL: not kept */
    real *y, *mean, *inverse;         /* [pixels, C], [C], 1 / standard deviation [C] */
    const real *by_y;
    real *by_x, *by_scale, *by_shift; /* NULL: not wanted */
    double *sums;                     /* scratch, [threads, 2, C] */
} Norm;

typedef struct { long number, count, first, last; } Share; /* a thread's pixels */

static Share share_of(const Norm *s) {
    Share t = {.number = omp_get_thread_num(), .count = omp_get_num_threads()};
    t.first = s->pixels * t.number / t.count;
    t.last = s->pixels * (t.number + 1) / t.count;
    return t;
}

/* the sum over threads of one of a channel's two sums */
static double whole(const Norm *s, const Share *t, long which, long c) {
    double sum = 0;
    for (long k = 0; k < t->count; k++) sum += s->sums[(2 * k + which) * s->channels + c];
    return sum;
}

/* y = x * factor + offset; the same expression decides forward and backward which values the ReLU lets through */
static void line_of(const Norm *s, long c, real mean, real inverse, real *factor, real *offset) {
    *factor = s->scale ? s->scale[c] * inverse : inverse;
    *offset = (s->shift ? s->shift[c] : 0) - mean * *factor;
}

void norm(const Norm *s) {
    long C = s->channels;
#pragma omp parallel num_threads(s->threads)
    {
        Share t = share_of(s);
        double *sums = s->sums + 2 * t.number * C;
        real a[C], b[C], factor[C], offset[C];
        for (long c = 0; c < 2 * C; c++) sums[c] = 0;
        for (long start = t.first; start < t.last; start += FEW) {
            long end = start + FEW < t.last ? start + FEW : t.last;
            const real *near = s->x + start * C;
            for (long c = 0; c < C; c++) a[c] = b[c] = 0;
            for (long p = start; p < end; p++)
                for (long c = 0; c < C; c++) {
                    real difference = s->x[p * C + c] - near[c];
                    a[c] += difference;
                    b[c] += difference * difference;
                }
            for (long c = 0; c < C; c++) {
                double away = (double)near[c] - s->x[c], n = end - start;
                sums[c] += a[c] + n * away;
                sums[C + c] += b[c] + (2 * a[c] + n * away) * away;
            }
        }
#pragma omp barrier
        for (long c = 0; c < C; c++) {
            double away = whole(s, &t, 0, c) / s->pixels, variance = whole(s, &t, 1, c) / s->pixels - away * away;
            double mean = s->x[c] + away, inverse = 1 / sqrt((variance < 0 ? 0 : variance) + s->epsilon), m = s->momentum;
            line_of(s, c, mean, inverse, factor + c, offset + c);
            if (t.number) continue;
            s->mean[c] = mean;
            s->inverse[c] = inverse;
            if (s->running_mean) s->running_mean[c] = (1 - m) * s->running_mean[c] + m * mean;
            if (s->running_var) s->running_var[c] = (1 - m) * s->running_var[c] + m * variance * s->pixels / (s->pixels - 1);
        }
        for (long p = t.first; p < t.last; p++)
            if (s->relu)
                for (long c = 0; c < C; c++) {
                    real y = s->x[p * C + c] * factor[c] + offset[c];
                    s->y[p * C + c] = y < 0 ? 0 : y; /* NaN stays, as in torch */
                }
            else
                for (long c = 0; c < C; c++) s->y[p * C + c] = s->x[p * C + c] * factor[c] + offset[c];
    }
}

void norm_back(const Norm *s) {
    long C = s->channels;
#pragma omp parallel num_threads(s->threads)
    {
        Share t = share_of(s);
        double *sums = s->sums + 2 * t.number * C;
        real a[C], b[C], factor[C], offset[C];
        for (long c = 0; c < 2 * C; c++) sums[c] = 0;
        for (long c = 0; c < C; c++) line_of(s, c, s->mean[c], s->inverse[c], factor + c, offset + c);
        for (long start = t.first; start < t.last; start += FEW) {
            long end = start + FEW < t.last ? start + FEW : t.last;
            for (long c = 0; c < C; c++) a[c] = b[c] = 0;
            for (long p = start; p < end; p++)
                for (long c = 0; c < C; c++) {
                    real x = s->x[p * C + c], by = s->by_y[p * C + c];
                    by = s->relu && x * factor[c] + offset[c] <= 0 ? 0 : by;
                    a[c] += by;
                    b[c] += by * (x - s->mean[c]);
                }
            for (long c = 0; c < C; c++) { sums[c] += a[c]; sums[C + c] += b[c]; }
        }
#pragma omp barrier
        for (long c = 0; c < C; c++) { /* factor * (by - sum / N - (x - mean) / variance * along / N) = factor * by + a * x + b */
            double sum = whole(s, &t, 0, c), along = whole(s, &t, 1, c), slope = along * s->inverse[c] * s->inverse[c] / s->pixels;
            a[c] = -factor[c] * slope;
            b[c] = factor[c] * (s->mean[c] * slope - sum / s->pixels);
            if (!t.number && s->by_scale) s->by_scale[c] = along * s->inverse[c];
            if (!t.number && s->by_shift) s->by_shift[c] = sum;
        }
        for (long p = t.first; s->by_x && p < t.last; p++)
            for (long c = 0; c < C; c++) {
                real x = s->x[p * C + c], by = s->by_y[p * C + c];
                by = s->relu && x * factor[c] + offset[c] <= 0 ? 0 : by;
                s->by_x[p * C + c] = factor[c] * by + a[c] * x + b[c];
            }
    }
}
