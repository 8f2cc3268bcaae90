package org.ctmahout

/**
 * Apache Mahout's distributed algebra on Spark 3.5 and 4.
 *
 * Matrices come from a [[samsara.ClusterContext]] on any `SparkContext`, are computed with in Mahout's R-like Scala, and are
 * decomposed by Mahout's `dssvd` and `dspca`, or by [[samsara.StochasticSvd]] and [[samsara.ExactSvd]], which take a seed and are
 * accurate for hard matrices too.
 *
 * {{{
 * import org.apache.mahout.math.drm.RLikeDrmOps._
 * import org.ctmahout.samsara._
 *
 * val samsara = new ClusterContext(sc)
 * try {
 *   val a = samsara.fromRows(rows) // an RDD of (Long, Array[Double])
 *   val gram = (a.t %*% a).collect
 *   val svd = StochasticSvd(a, k = 50, p = 15, q = 1, seed = 0)
 * } finally samsara.close()
 * }}}
 *
 * Behind these classes there are four layers, none of which knows those above it: `io`, `plan`, `blocks` and `incore`. The page "From an
 * expression to passes over the data" of the documentation shows the way through them.
 */
package object samsara
