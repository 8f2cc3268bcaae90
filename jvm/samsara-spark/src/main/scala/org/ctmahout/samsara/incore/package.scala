package org.ctmahout.samsara

/**
 * One block of rows at a time, and matrices that are small: products, kernels, Cholesky, Gram-Schmidt, Jacobi. All that it asks of
 * Spark is whether this is a task.
 */
package object incore
