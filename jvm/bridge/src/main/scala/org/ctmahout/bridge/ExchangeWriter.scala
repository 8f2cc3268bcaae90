package org.ctmahout.bridge

import scala.collection.mutable
import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.spark.{InterruptibleIterator, TaskContext}
import org.apache.spark.util.SerializableConfiguration
import org.ctmahout.samsara.DistributedRows

/** Writes s, V and U of the groups of a request, each part with its checksum. */
private[bridge] final class ExchangeWriter(output: OutputDirectory, dtype: Dtype, wantU: Boolean) {
  import ExchangeWriter._

  private val parts = Seq(S, V) ++ (if (wantU) Seq(U) else Nil)
  private val written = mutable.Set.empty[String]

  /** What tasks write their files by. */
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
      keep(Seq(s"$part/$name"))
      for ((group, rows) <- groups; (values, row) <- rows.zipWithIndex) tasks.write(file, group, row.toLong, values)
      groups.map { case (group, _) => group -> Checksum.hex(file.checksum(group)) }.toMap
    }

  /** U of one group, by the executors, a file for each partition that has rows. Returns its checksum, and the largest entry of |U'U - I|. */
  def tall(group: Int, u: DistributedRows[Long]): (String, Double) = {
    val writer = tasks
    val (told, orthogonality) = Decomposition.written(u)(writer.tall(group, _, TaskContext.get()))
    val parts = told.flatten
    keep(parts.map(_._1))
    (Checksum.hex(parts.map(_._2).sum), orthogonality)
  }

  /** Adds files that tasks have written, and told of. */
  def keep(files: Iterable[String]): Unit = written ++= files

  /** What the manifest is to name. Tasks that failed, or were overtaken by another attempt, may have left more. */
  def files: Seq[String] = written.toSeq.sorted

  private def directory(part: String) = new Path(output.partial, part)
}

private[bridge] object ExchangeWriter {
  val S = "s"
  val V = "v"
  val U = "u"
}

/** Writes files of a factors directory, in tasks too. What is written counts if the driver hears of it: the manifest names it. */
private[bridge] final class TaskWriter(directory: String, output: String, dtype: Dtype, conf: SerializableConfiguration)
    extends Serializable {
  import ExchangeWriter._

  /**
   * A file for `body` to fill, closed whatever happens: most of what is written reaches the disk only then. The first
   * failure is the one that is heard. A file of U is of what the matrix is of, others are of doubles.
   */
  def filling[T](part: String, name: String)(body: FactorFile => T): T = {
    val path = new Path(new Path(directory, part), name)
    val file = writing(new FactorFile(path, if (part == U) dtype else Dtype.Float64, conf.value))
    val result =
      try body(file)
      catch {
        case e: Throwable =>
          try {
            file.close()
            path.getFileSystem(conf.value).delete(path, false)
          } catch { case NonFatal(late) => e.addSuppressed(late) }
          throw e
      }
    writing(file.close())
    result
  }

  def write(file: FactorFile, group: Int, row: Long, values: Array[Double]): Unit = writing(file.write(group, row, values))

  /** U of a partition: the file, if there are rows, and its checksum. */
  def tall(group: Int, rows: Iterator[(Long, Array[Double])], context: TaskContext): Option[(String, Long)] =
    if (rows.isEmpty) None
    else {
      // The attempt is in the name: of two attempts at a partition the driver keeps the one that it hears of.
      val name = f"part-$group%05d-${context.partitionId()}%05d-${context.taskAttemptId()}.parquet"
      val sum = filling(U, name) { file =>
        // A cancelled task must stop here: it would write into a directory that is being removed.
        for ((row, values) <- new InterruptibleIterator(context, rows)) write(file, group, row, values)
        file.checksum(group)
      }
      Some((s"$U/$name", sum))
    }

  private def writing[T](body: => T): T = OutputDirectory.writing(output)(body)
}
