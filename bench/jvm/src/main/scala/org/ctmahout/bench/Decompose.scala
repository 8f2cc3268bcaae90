package org.ctmahout.bench

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.spark.sql.SparkSession
import org.ctmahout.samsara._

/**
 * A matrix in the cluster's memory, decomposed: the task's `matrix` is a .npy file, `algorithm` is `dssvd` or `exact`, and
 * `u` says whether U is computed, too.
 */
object Decompose extends Measurement {

  override protected def subject(session: SparkSession, task: JsonNode): Subject = {
    val sc = session.sparkContext
    val file = NpyFile.open(task.get("matrix").asText)
    val blocks = file.blocks(sc, sc.defaultParallelism).cache()
    blocks.count()
    val (k, p, q) = (task.get("k").asInt, task.get("p").asInt, task.get("q").asInt)
    val wantU = task.get("u").asBoolean
    val isExact = task.get("algorithm").asText == "exact"

    new Subject {
      private var last = 0

      // Another seed each time, since Omega would be there already.
      override def run(i: Int): Unit = {
        last = i
        decomposed(i.toLong)(svd => if (wantU) tall(svd).rdd.foreach(_ => ()))
      }

      override def describe(answer: ObjectNode): Unit = decomposed(last.toLong) { svd =>
        val s = answer.putArray("s")
        for (value <- svd.s) s.add(value)
        answer.put("orthogonality_v", svd.orthogonality)
        if (wantU) answer.put("orthogonality_u", orthogonalityU(svd))
        answer.put("blas", svd.u.context.asInstanceOf[SamsaraContext].blasName)
        ()
      }

      override def close(): Unit = blocks.unpersist(blocking = true)

      private def decomposed(seed: Long)(use: Svd[Long] => Unit): Unit = {
        val samsara = new ClusterContext(sc)
        try {
          val a = samsara.drm[Long](blocks, file.rows, file.columns)
          use(if (isExact) ExactSvd(a, k, seed) else StochasticSvd(a, k, p, q, seed))
        } finally samsara.close()
      }
    }
  }

  private def tall(svd: Svd[Long]): DistributedRows[Long] =
    svd.u.checkpoint(CacheHint.NONE).asInstanceOf[DistributedRows[Long]]

  private def orthogonalityU(svd: Svd[Long]): Double = {
    val u = tall(svd)
    if (svd.rank == 0) 0.0 else Svd.distanceToIdentity((u.t %*% u).collect)
  }
}
