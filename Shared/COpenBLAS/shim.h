#include <cblas.h>
// LAPACK, which OpenBLAS brings along: eigenvalues and eigenvectors of a symmetric matrix.
extern void dsyevd_(const char *job, const char *triangle, const blasint *n, double *a, const blasint *lda, double *w,
                    double *work, const blasint *work_count, blasint *integer_work, const blasint *integer_work_count,
                    blasint *info);
