package org.ctmahout.bridge

import org.ctmahout.bridge.exchange.{MatrixGroup, WrittenFile}

/**
 * A decomposed group, its V written, and its U if it was wanted.
 *
 * @param squaredNorm
 *   |A|^2 of what was decomposed
 * @param orthogonalityV
 *   the largest entry of |V'V - I|
 * @param checksums
 *   of V and U, by part
 * @param kernels
 *   the kernels that multiplied in its tasks
 * @param files
 *   written by tasks
 */
private[bridge] final case class GroupResult(
    group: MatrixGroup,
    s: Array[Double],
    squaredNorm: Double,
    orthogonalityV: Double,
    orthogonalityU: Option[Double],
    checksums: Map[String, String],
    warnings: Seq[String],
    kernels: Set[String],
    files: Set[WrittenFile] = Set.empty)
