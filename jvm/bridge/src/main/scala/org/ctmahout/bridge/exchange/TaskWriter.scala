package org.ctmahout.bridge
package exchange

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.spark.{InterruptibleIterator, TaskContext, TaskKilledException}
import org.ctmahout.bridge.SparkInternals.SerializableConfiguration

/**
 * A part file.
 *
 * @param name
 *   relative to the directory
 * @param task
 *   the task that wrote it; the file of a second attempt has another name and the same rows
 */
private[bridge] final case class WrittenFile(name: String, task: String)

/** Writes files of a factors directory, in tasks too. Only files that are reported to the driver count: the manifest names them. */
private[bridge] final class TaskWriter(directory: String, output: String, dtype: Dtype, conf: SerializableConfiguration)
    extends Serializable {
  import ExchangeWriter._

  /**
   * A file for `body` to fill, closed whatever happens: most of what is written reaches the disk only then. The first
   * failure is the one reported. U has the element type of the matrix, other files have doubles.
   */
  def filling[T](part: String, name: String)(body: FactorFile => T): T = {
    val file = open(part, name)
    val result =
      try body(file)
      catch {
        case e: Throwable =>
          try remove(file, part, name)
          catch { case NonFatal(late) => e.addSuppressed(late) }
          throw e
      }
    close(file, part, name)
    result
  }

  /** In an object store a file appears when it is closed: that of a run cancelled meanwhile is deleted again. */
  private def close(file: FactorFile, part: String, name: String): Unit = {
    writing(file.close())
    if (Option(TaskContext.get()).exists(_.isInterrupted())) {
      writing(delete(part, name))
      throw new TaskKilledException
    }
  }

  private def open(part: String, name: String): FactorFile =
    writing(new FactorFile(path(part, name), if (part == U) dtype else Dtype.Float64, conf.value))

  private def remove(file: FactorFile, part: String, name: String): Unit = {
    file.close()
    delete(part, name)
  }

  private def delete(part: String, name: String): Unit = {
    path(part, name).getFileSystem(conf.value).delete(path(part, name), false)
    ()
  }

  private def path(part: String, name: String) = new Path(new Path(directory, part), name)

  /**
   * U of the groups of one task: a file, made with the first row.
   *
   * @param step
   *   of the job that the task belongs to
   */
  final class TaskU(step: String, context: TaskContext) {
    // The attempt is in the name: of two attempts at a partition the manifest names one.
    private val task = f"part-$step-${context.partitionId()}%05d"
    private val name = s"$task-${context.taskAttemptId()}.parquet"
    private var file = Option.empty[FactorFile]
    context.addTaskCompletionListener[Unit](_ => file.foreach(remove(_, U, name)))

    /** Adds the rows of a group. Returns their checksum, and the file. */
    def write(group: Int, rows: Iterator[(Long, Array[Double])]): (Long, WrittenFile) = {
      if (file.isEmpty) file = Some(open(U, name))
      for ((row, values) <- new InterruptibleIterator(context, rows)) TaskWriter.this.write(file.get, group, row, values)
      (file.get.checksum(group), WrittenFile(s"$U/$name", s"$U/$task"))
    }

    /** To be called before the file is reported. One not closed when the task ends, because it failed, is removed. */
    def close(): Unit = {
      val written = file
      file = None
      written.foreach(TaskWriter.this.close(_, U, name))
    }
  }

  def write(file: FactorFile, group: Int, row: Long, values: Array[Double]): Unit = writing(file.write(group, row, values))

  /** U of a partition: the file, if there are rows, and its checksum. */
  def tall(group: Int, rows: Iterator[(Long, Array[Double])], context: TaskContext): Option[(String, Long)] =
    if (rows.isEmpty) None
    else {
      // The attempt is in the name: of two attempts at a partition the driver keeps the one reported.
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
