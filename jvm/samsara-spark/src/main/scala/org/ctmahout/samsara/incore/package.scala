package org.ctmahout.samsara

/** One block of rows at a time, and matrices that are small: products, kernels, Cholesky, Gram-Schmidt, Jacobi. Asks Spark for nothing but whether this is a task. */
package object incore
