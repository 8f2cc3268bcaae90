package org.ctmahout.sparkbindings

import scala.annotation.nowarn

import org.apache.spark.SparkContext

/** The program of docs/samsara.md for Mahout's bindings, which SamsaraPageTest compares with what stands between the marks. */
@nowarn("cat=unused-imports") // those that the documentation of Mahout has every program begin with
object MahoutProgram {
  def run(sc: SparkContext): Double = {
    // begin
    import org.apache.mahout.math._
    import org.apache.mahout.math.scalabindings._
    import org.apache.mahout.math.drm._
    import org.apache.mahout.math.scalabindings.RLikeOps._
    import org.apache.mahout.math.drm.RLikeDrmOps._
    import org.apache.mahout.sparkbindings._

    implicit val sdc: SparkDistributedContext = sc2sdc(sc)

    val points: DrmRdd[Int] = sc.parallelize(0 until 100).map(i => i -> (dvec(1, i, i * i): Vector))
    val A = drmWrap(points)
    val largest = (A.t %*% A).rdd.map { case (_, row) => row.maxValue }.max()
    // end
    require(sdc eq A.context)
    largest
  }
}
