package org.ctmahout.bridge

import java.io.FileNotFoundException

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.spark.{InterruptibleIterator, TaskContext}
import org.apache.spark.rdd.RDD
import org.apache.spark.util.SerializableConfiguration

/** Writes s, V and U of the groups of a request, each part with its checksum. */
private[bridge] final class ExchangeWriter(output: OutputDirectory) {
  import ExchangeWriter._

  /** A small part, by the driver as one file: the rows of each group in order. Returns the checksum of each group. */
  def small(part: String, groups: Seq[(Int, Array[Array[Double]])]): Map[Int, String] = output.writing {
    val path = new Path(directory(part), "part-00000.parquet")
    using(new FactorFile(path, Dtype.Float64, output.conf)) { file =>
      for ((group, rows) <- groups; (values, row) <- rows.zipWithIndex) file.write(group, row.toLong, values)
      groups.map { case (group, _) => group -> Checksum.hex(file.checksum(group)) }.toMap
    }
  }

  /** U of one group, by the executors, a file for each partition that has rows. Returns its checksum. */
  def tall(group: Int, rows: RDD[(Long, Array[Double])], dtype: Dtype): String = {
    val u = directory("u")
    val task = new TallTask(u.toString, output.shown, group, dtype, new SerializableConfiguration(output.conf))
    output.writing(output.make(u))
    val written = rows.mapPartitions(it => task.write(it, TaskContext.get()).iterator).collect()
    val names = written.map(_._1).toSet
    def isLost(file: Path) = file.getName.startsWith(prefix(group)) && !names(file.getName)
    output.writing(output.files(u).filter(isLost).foreach(output.delete))
    Checksum.hex(written.map(_._2).sum)
  }

  private def directory(part: String) = new Path(output.partial, part)
}

private[bridge] object ExchangeWriter {
  private def prefix(group: Int) = f"part-$group%05d-"

  private final class TallTask(
      directory: String,
      output: String,
      group: Int,
      dtype: Dtype,
      conf: SerializableConfiguration)
      extends Serializable {

    def write(rows: Iterator[(Long, Array[Double])], context: TaskContext): Option[(String, Long)] =
      if (rows.isEmpty) None
      else {
        // The attempt is in the name: of two attempts at a partition the driver keeps the one that it hears of.
        val name = f"${prefix(group)}${context.partitionId()}%05d-${context.taskAttemptId()}.parquet"
        val file = writing(open(name))
        using(file) { _ =>
          // A cancelled task must stop here: it would write into a directory that is being removed.
          val whileWanted = new InterruptibleIterator(context, rows)
          whileWanted.foreach { case (row, values) => writing(file.write(group, row, values)) }
        }
        Some((name, file.checksum(group)))
      }

    private def open(name: String): FactorFile = {
      val parent = new Path(directory)
      // Creating a file makes its parents, so a straggler would bring a removed directory back.
      if (!parent.getFileSystem(conf.value).exists(parent)) throw new FileNotFoundException(s"$directory was removed")
      new FactorFile(new Path(parent, name), dtype, conf.value)
    }

    private def writing[T](body: => T): T = OutputDirectory.writing(output)(body)
  }

  /** Closes the file whatever happens, and lets the first failure be the one that is heard. */
  private def using[T](file: FactorFile)(body: FactorFile => T): T = {
    val result =
      try body(file)
      catch {
        case e: Throwable =>
          try file.close()
          catch { case NonFatal(late) => e.addSuppressed(late) }
          throw e
      }
    file.close()
    result
  }
}
