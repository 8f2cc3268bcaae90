package org.ctmahout.samsara

import org.apache.spark.SparkContext

// As it is on the page.
// format: off
/** The examples of docs/samsara.md: what stands between two marks is the page's text. SamsaraPageTest compares and runs it. */
object SamsaraPage {
  def run(sc: SparkContext): Unit = {
    // begin
    import org.apache.mahout.math.decompositions._
    import org.apache.mahout.math.drm._
    import org.apache.mahout.math.drm.RLikeDrmOps._
    import org.apache.mahout.math.scalabindings._
    import org.apache.mahout.math.scalabindings.RLikeOps._
    import org.ctmahout.samsara.ClusterContext

    implicit val samsara: ClusterContext = new ClusterContext(sc)

    // Nine breakfast cereals: protein, fat, carbohydrates, sugars; and how a consumer report rates them.
    val cereals = drmParallelize(dense(
      (2, 2, 10.5, 10, 29.509541), (1, 2, 12, 12, 18.042851), (1, 1, 12, 13, 22.736446),
      (2, 1, 11, 13, 32.207582), (1, 2, 12, 11, 21.871292), (2, 1, 16, 8, 36.187559),
      (6, 2, 17, 1, 50.764999), (3, 2, 13, 7, 40.400208), (3, 3, 13, 4, 45.811716)), numPartitions = 2)

    // Least squares with an intercept, as one would write it in R: solve(t(X) %*% X, t(X) %*% y).
    val X = cereals(::, 0 until 4) cbind 1.0
    val y = cereals(::, 4 until 5)
    val beta = solve((X.t %*% X).collect, (X.t %*% y).collect)
    println("beta      " + (0 until 5).map(i => f"${beta(i, 0)}%.3f").mkString("  "))
    println("residuals " + f"${(y - X %*% beta).norm()}%.3f")

    // The singular value decomposition of the centred columns: U is on the cluster, V and s are small.
    val (u, v, s) = dspca(X(::, 0 until 4), k = 4)
    println("s         " + (0 until 4).map(i => f"${s(i)}%.3f").mkString("  "))
    println("rows of U " + u.nrow)

    samsara.close()
    // end
  }

  def rdds(sc: SparkContext): (Seq[(Long, Seq[Double])], Seq[(Int, Seq[Double])]) = {
    import org.apache.mahout.math.drm.RLikeDrmOps._
    import org.ctmahout.samsara.ClusterContext

    val samsara = new ClusterContext(sc)
    // begin rdds
    val rows = sc.parallelize(Seq(0L -> Array(1.0, 2.0), 1L -> Array(3.0, 4.0), 2L -> Array(5.0, 6.0)), 2)
    val B = samsara.fromRows(rows)
    val plusOne = samsara.toRows(B + 1.0).collect()
    // end
    def readable[K](rows: Array[(K, Array[Double])]) = rows.toSeq.map { case (key, row) => key -> row.toSeq }
    try readable(plusOne) -> readable(samsara.toRows(B.t %*% B).collect())
    finally samsara.close()
  }
}
