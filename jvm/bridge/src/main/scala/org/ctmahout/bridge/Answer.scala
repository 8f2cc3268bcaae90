package org.ctmahout.bridge

import org.apache.spark.SparkContext
import org.ctmahout.bridge.exchange.{Manifest, MatrixManifest}

/** The manifest of a factors directory, which is also what the caller gets (contract/v1/manifest.schema.json). */
private[bridge] object Answer {

  /**
   * @param s
   *   the checksums of the singular values of each group
   * @param files
   *   all that belong to the directory
   */
  def text(
      request: Request,
      input: MatrixManifest,
      results: Seq[GroupResult],
      s: Map[Int, String],
      files: Seq[String],
      partitions: Int,
      seconds: Seq[(String, Double)],
      sc: SparkContext): String = {
    val json = Json.newObject()
    json.put("kind", "factors").put("exchange_version", Manifest.Version).put("dtype", input.dtype.name)
    json.put("centring", if (request.algorithm.isCentred) "columns" else "none")
    val groups = json.putArray("groups")
    results.foreach { r =>
      val g = r.group
      val one = groups.addObject().put("group", g.group).put("rows", g.rows).put("columns", g.columns)
      one.put("rank", r.s.length)
      val sums = one.putObject("checksums").put("s", s(g.group))
      for (part <- Seq("v", "u"); sum <- r.checksums.get(part)) sums.put(part, sum)
      one.put("squared_norm", r.squaredNorm)
      one.put("residual", residual(r.squaredNorm, r.s))
      one.put("orthogonality_v", r.orthogonalityV)
      r.orthogonalityU.foreach(u => one.put("orthogonality_u", u))
    }
    val names = json.putArray("files")
    files.foreach(name => names.add(name))
    json.set[com.fasterxml.jackson.databind.JsonNode]("request", request.parameters)
    if (request.algorithm == Algorithm.Auto) {
      val choice = request.choice(input.columns)
      json.putObject("chosen").put("algorithm", choice.algorithm.name).put("why", choice.why)
    }
    json.put("input_sha256", input.sha256)
    val writer = json.putObject("writer").put("engine", "spark")
    BuildInfo.facts().forEach { (key, value) =>
      if (WriterKeys.contains(key)) writer.put(key, value)
      ()
    }
    // From the executors, where most is multiplied; `facts` describe the driver.
    writer.put("blas", results.flatMap(_.kernels).distinct.sorted.mkString(", "))
    val timings = json.putObject("timings_s")
    seconds.foreach { case (phase, s) => timings.put(phase, math.rint(s * 1000) / 1000) }
    json.put("application_id", sc.applicationId)
    json.put("partitions", partitions)
    val warnings = json.putArray("warnings")
    for (r <- results; warning <- r.warnings)
      warnings.add(if (results.size > 1) s"Group ${r.group.group}: $warning" else warning)
    Json.mapper.writeValueAsString(json)
  }

  private val WriterKeys = Set("name", "version", "spark", "scala", "mahout", "java", "blas")

  /** |A - U diag(s) V'| / |A|: from the squared norm less that of the components. */
  def residual(squaredNorm: Double, s: Array[Double]): Double =
    if (squaredNorm == 0) 0.0 else math.sqrt(math.max(0.0, squaredNorm - s.map(x => x * x).sum) / squaredNorm)
}
