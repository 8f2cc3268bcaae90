package org.ctmahout.bridge
package exchange

import java.util.concurrent.ConcurrentHashMap

import org.apache.hadoop.fs.Path
import org.apache.spark.TaskContext
import org.ctmahout.bridge.SparkInternals.SerializableConfiguration
import org.ctmahout.samsara.DistributedRows

/** Writes s, V and U of the groups of a request, each part with its checksum. */
private[bridge] final class ExchangeWriter(output: OutputDirectory, dtype: Dtype, wantU: Boolean) {
  import ExchangeWriter._

  private val parts = Seq(S, V) ++ (if (wantU) Seq(U) else Nil)
  // By writer: if a task ran twice and reported twice, one of its files is named.
  private val written = new ConcurrentHashMap[String, String]

  /** For tasks, to write their files. */
  val tasks = new TaskWriter(output.partial.toString, output.shown, dtype, new SerializableConfiguration(output.conf))

  /** Makes the directories of the parts: tasks never do, since one that is late would bring a removed one back. */
  def prepare(): Unit = output.writing(parts.foreach(part => output.make(directory(part))))

  /** The singular values of all groups, in one file. Returns the checksum of each group. */
  def singularValues(groups: Seq[(Int, Array[Double])]): Map[Int, String] =
    small(S, "part-00000.parquet", groups.map { case (group, s) => group -> Array(s) })

  /** V of one group, by the driver. Returns its checksum. */
  def narrow(group: Int, v: Array[Array[Double]]): String =
    small(V, f"part-$group%05d.parquet", Seq(group -> v))(group)

  private def small(part: String, name: String, groups: Seq[(Int, Array[Array[Double]])]): Map[Int, String] =
    tasks.filling(part, name) { file =>
      keep(Seq(WrittenFile(s"$part/$name", s"$part/$name")))
      for ((group, rows) <- groups; (values, row) <- rows.zipWithIndex) tasks.write(file, group, row.toLong, values)
      groups.map { case (group, _) => group -> Checksum.hex(file.checksum(group)) }.toMap
    }

  /** U of one group, by the executors, a file for each partition with rows. Returns its checksum, and the largest entry of |U'U - I|. */
  def tall(group: Int, u: DistributedRows[Long]): (String, Double) = {
    val writer = tasks
    val (results, orthogonality) = Decomposition.written(u)(writer.tall(group, _, TaskContext.get()))
    val parts = results.flatten
    keep(parts.map { case (name, _) => WrittenFile(name, name) })
    (Checksum.hex(parts.map(_._2).sum), orthogonality)
  }

  /** Adds files that tasks have written and reported. */
  def keep(files: Iterable[WrittenFile]): Unit = files.foreach(file => written.put(file.task, file.name))

  /** The files for the manifest to name. Tasks that failed, or were overtaken by another attempt, may have left more. */
  def files: Seq[String] = written.values.toArray(Array.empty[String]).toSeq.sorted

  private def directory(part: String) = new Path(output.partial, part)
}

private[bridge] object ExchangeWriter {
  val S = "s"
  val V = "v"
  val U = "u"
}
