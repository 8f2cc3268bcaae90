package org.ctmahout.samsara

/**
 * Matrices as blocks of rows, on a cluster or in this process: passes over them, shuffles, products that are not multiplied in yet,
 * orthonormal bases. Knows nothing of the operators of Mahout.
 */
package object blocks
