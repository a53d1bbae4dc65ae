/* Batch norm in training on a CPU, with or without the ReLU behind it, and its gradients.
 *
 * Maps are [pixels, C] in memory, where the pixels are those of all images. Each pass over a map is
 * one loop over pixels with an inner loop over channels; there are two passes forward and two
 * backward. To keep digits, sums are taken of differences to a nearby pixel: in `real`, which is
 * float or double, over RUN pixels, and in double over those. Tests compare the results with
 * torch.nn.functional.batch_norm and relu.
 */
#include <omp.h>
#include <stdlib.h>
#include <tgmath.h>

enum { RUN = 64 }; /* pixels */
enum { OUT_OF_MEMORY = 1 };

typedef struct { /* as _Norm in batch_norm.py */
    long pixels, channels, threads;
    long relu; /* whether a ReLU follows */
    double epsilon;
    const real *x;             /* [pixels, C] */
    const real *scale, *shift; /* [C]; NULL: 1 and 0 */
} Norm;

typedef struct { /* as _Forward */
    double momentum;                  /* weight of the batch in the running statistics */
    real *running_mean, *running_var; /* [C], moved towards the batch's; NULL: not kept */
    real *y;                          /* result [pixels, C] */
    real *mean, *inv_std;             /* results [C]: the batch's, 1 / standard deviation */
} Forward;

typedef struct { /* as _Backward */
    const real *mean, *inv_std;             /* results of batch_norm */
    const real *grad_y;                     /* [pixels, C] */
    real *grad_x, *grad_scale, *grad_shift; /* results; NULL: not needed */
} Backward;

typedef struct { /* the pixels of one thread */
    long thread, threads, first, end;
} Share;

static Share share_of(const Norm *s) {
    Share share = {.thread = omp_get_thread_num(), .threads = omp_get_num_threads()};
    share.first = s->pixels * share.thread / share.threads;
    share.end = s->pixels * (share.thread + 1) / share.threads;
    return share;
}

static long min_long(long a, long b) { return a < b ? a : b; }

/* the sum over all threads, of which each has the sums [2, C] */
static double total(const double *sums, const Share *share, long C, long which, long c) {
    double sum = 0;
    for (long t = 0; t < share->threads; t++)
        sum += sums[(2 * t + which) * C + c];
    return sum;
}

/* y = x * factor + offset. Forward and backward use the same expression to decide which values
 * the ReLU lets through. */
static void affine(const Norm *s, long c, real mean, real inv_std, real *factor, real *offset) {
    *factor = s->scale ? s->scale[c] * inv_std : inv_std;
    *offset = (s->shift ? s->shift[c] : 0) - mean * *factor;
}

/* From x, write y and the batch's statistics, and update the running ones. */
int batch_norm(const Norm *s, const Forward *f) {
    long C = s->channels;
    real *y = f->y;
    double *all = malloc(sizeof(double) * s->threads * 2 * C);
    if (!all) return OUT_OF_MEMORY;
#pragma omp parallel num_threads(s->threads)
    {
        Share share = share_of(s);
        double *sums = all + 2 * share.thread * C; /* of x - x[0], and of its square */
        real a[C], b[C], factor[C], offset[C];
        for (long c = 0; c < 2 * C; c++)
            sums[c] = 0;
        for (long start = share.first; start < share.end; start += RUN) {
            long end = min_long(start + RUN, share.end);
            const real *near = s->x + start * C;
            for (long c = 0; c < C; c++)
                a[c] = b[c] = 0;
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
            double away = total(all, &share, C, 0, c) / s->pixels;
            double variance = total(all, &share, C, 1, c) / s->pixels - away * away;
            double m = f->momentum, center = s->x[c] + away;
            double inverse = 1 / sqrt((variance < 0 ? 0 : variance) + s->epsilon);
            affine(s, c, center, inverse, factor + c, offset + c);
            if (share.thread) continue;
            f->mean[c] = center;
            f->inv_std[c] = inverse;
            if (f->running_mean)
                f->running_mean[c] = (1 - m) * f->running_mean[c] + m * center;
            if (f->running_var) {
                double unbiased = variance * s->pixels / (s->pixels - 1);
                f->running_var[c] = (1 - m) * f->running_var[c] + m * unbiased;
            }
        }
        for (long p = share.first; p < share.end; p++)
            if (s->relu)
                for (long c = 0; c < C; c++) {
                    real value = s->x[p * C + c] * factor[c] + offset[c];
                    y[p * C + c] = value < 0 ? 0 : value; /* NaN stays, as in torch */
                }
            else
                for (long c = 0; c < C; c++)
                    y[p * C + c] = s->x[p * C + c] * factor[c] + offset[c];
    }
    free(all);
    return 0;
}

/* From grad_y, write the gradients by x, scale and shift. */
int batch_norm_backward(const Norm *s, const Backward *g) {
    long C = s->channels;
    double *all = malloc(sizeof(double) * s->threads * 2 * C);
    if (!all) return OUT_OF_MEMORY;
#pragma omp parallel num_threads(s->threads)
    {
        Share share = share_of(s);
        double *sums = all + 2 * share.thread * C; /* of grad_y, and of grad_y * (x - mean) */
        real a[C], b[C], factor[C], offset[C];
        for (long c = 0; c < 2 * C; c++)
            sums[c] = 0;
        for (long c = 0; c < C; c++)
            affine(s, c, g->mean[c], g->inv_std[c], factor + c, offset + c);
        for (long start = share.first; start < share.end; start += RUN) {
            long end = min_long(start + RUN, share.end);
            for (long c = 0; c < C; c++)
                a[c] = b[c] = 0;
            for (long p = start; p < end; p++)
                for (long c = 0; c < C; c++) {
                    real x = s->x[p * C + c], grad = g->grad_y[p * C + c];
                    grad = s->relu && x * factor[c] + offset[c] <= 0 ? 0 : grad;
                    a[c] += grad;
                    b[c] += grad * (x - g->mean[c]);
                }
            for (long c = 0; c < C; c++) {
                sums[c] += a[c];
                sums[C + c] += b[c];
            }
        }
#pragma omp barrier
        /* factor * (grad_y - sum / pixels - (x - mean) * slope) = factor * grad_y + a * x + b */
        for (long c = 0; c < C; c++) {
            double sum = total(all, &share, C, 0, c), along = total(all, &share, C, 1, c);
            double slope = along * g->inv_std[c] * g->inv_std[c] / s->pixels;
            a[c] = -factor[c] * slope;
            b[c] = factor[c] * (g->mean[c] * slope - sum / s->pixels);
            if (!share.thread && g->grad_scale) g->grad_scale[c] = along * g->inv_std[c];
            if (!share.thread && g->grad_shift) g->grad_shift[c] = sum;
        }
        for (long p = share.first; g->grad_x && p < share.end; p++)
            for (long c = 0; c < C; c++) {
                real x = s->x[p * C + c], grad = g->grad_y[p * C + c];
                grad = s->relu && x * factor[c] + offset[c] <= 0 ? 0 : grad;
                g->grad_x[p * C + c] = factor[c] * grad + a[c] * x + b[c];
            }
    }
    free(all);
    return 0;
}
