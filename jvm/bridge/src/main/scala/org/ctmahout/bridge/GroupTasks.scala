package org.ctmahout.bridge

import scala.collection.mutable.ArrayBuffer

import org.apache.spark.{InterruptibleIterator, TaskContext}
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.SparkInternals.InternalRow
import org.ctmahout.bridge.exchange._
import org.ctmahout.samsara.ProcessContext
import org.ctmahout.samsara.incore.Products

/**
 * Decomposes the small groups of a directory, each whole inside a task, all of them in one Spark job.
 *
 * A group whose rows are all in one partition, as writers leave most of them, is decomposed where it is read. The rows of
 * the others meet by a shuffle. So does word of those that are done: a row that is there twice is noticed wherever it is.
 */
private[bridge] final class GroupTasks(
    path: String,
    groups: Map[Int, MatrixGroup],
    dtype: Dtype,
    request: Request,
    writer: TaskWriter)
    extends Serializable {
  import GroupTasks._

  /**
   * The outcome of each group that has rows at all.
   *
   * @param rows
   *   group, number and values
   */
  def outcomes(rows: RDD[InternalRow]): Seq[Either[Refusal, GroupResult]] =
    rows
      .mapPartitionsWithIndex((index, it) => gather(it, index, TaskContext.get()))
      // In one order, whichever task comes first: sums of floating point numbers depend on it.
      .repartitionAndSortWithinPartitions(new ModuloPartitioner(math.max(1, math.min(groups.size, rows.getNumPartitions))))
      .mapPartitions(it => decide(it, TaskContext.get()))
      .collect()
      .toSeq

  private def gather(rows: Iterator[InternalRow], index: Int, context: TaskContext): Iterator[(Key, Message)] = {
    val gathering = dtype match {
      case Dtype.Float32 => new Gathering(groups, Values.Floats)
      case Dtype.Float64 => new Gathering(groups, Values.Doubles)
    }
    val u = new writer.TaskU("read", context)
    def rest = gathering.drain().map { case (group, block) => (group, Rows(block)) }
    val messages: Iterator[(Int, Message)] = new InterruptibleIterator(context, rows).flatMap { row =>
      gathering.add(row) match {
        case Some((group, blocks)) if isWhole(group, blocks) =>
          Iterator.single((group.group, Done(checkOf(blocks), decompose(group, blocks, u))))
        case Some((group, blocks)) => blocks.iterator.map(block => (group.group, Rows(block)))
        case None => if (gathering.isHeavy) rest else Iterator.empty
      }
    }
    def closed = {
      u.close() // and only then the task is over, and heard of
      Iterator.empty
    }
    (messages ++ rest ++ closed).zipWithIndex.map { case ((group, part), i) => ((group, index, i), part) }
  }

  /**
   * A task of the first step may run once more after others have read its messages. Then its U is in two files, with the
   * same rows, and one of them is named. V, which is small, travels in the message, and is written here.
   */
  private def decide(messages: Iterator[(Key, Message)], context: TaskContext): Iterator[Either[Refusal, GroupResult]] =
    if (messages.isEmpty) Iterator.empty
    else {
      val task = f"part-task-${context.partitionId()}%05d"
      val name = s"$task-${context.taskAttemptId()}.parquet"
      val v = WrittenFile(s"${ExchangeWriter.V}/$name", s"${ExchangeWriter.V}/$task")
      val u = new writer.TaskU("task", context)
      val sorted = new InterruptibleIterator(context, messages).buffered
      val outcomes = ArrayBuffer.empty[Either[Refusal, GroupResult]]
      writer.filling(ExchangeWriter.V, name) { file =>
        while (sorted.hasNext) {
          val group = groups(sorted.head._1._1)
          val mine = ArrayBuffer.empty[Message]
          while (sorted.hasNext && sorted.head._1._1 == group.group) mine += sorted.next()._2
          outcomes += decided(group, mine.toSeq, u).map { factors =>
            for ((values, row) <- factors.v.zipWithIndex) writer.write(file, group.group, row.toLong, values)
            factors.result(Checksum.hex(file.checksum(group.group)), v)
          }
        }
      }
      u.close()
      outcomes.iterator
    }

  private def decided(group: MatrixGroup, messages: Seq[Message], u: writer.TaskU): Either[Refusal, TaskFactors] = {
    val blocks = messages.collect { case Rows(block) => block }
    val done = messages.collectFirst { case done: Done => done.factors }
    def numbers = blocks.flatMap(_.rows).toArray
    def diagnosis = if (done.isEmpty) RowDiagnosis.of(numbers) else RowDiagnosis.Duplicate(numbers.min)
    GroupCheck.refusal(path, group, RowCheck.sum(messages.iterator.map(_.check)))(diagnosis) match {
      case Some(refusal) => Left(refusal)
      case None => Right(done.getOrElse(decompose(group, blocks, u)))
    }
  }

  private def decompose(group: MatrixGroup, blocks: Seq[CheckedBlock], file: writer.TaskU): TaskFactors = {
    val samsara = new ProcessContext
    val rows = blocks.filter(_.rows.nonEmpty).map(Decomposition.block(_, group.columns))
    val a = samsara.drm[Long](rows, group.rows, group.columns)
    val svd = Decomposition.of(a, request)
    val u = if (request.wantU) Some(Decomposition.written(Decomposition.u(svd))(file.write(group.group, _))) else None
    val written = u.map(_._1.head)
    TaskFactors(
      Decomposition.v(svd),
      GroupResult(
        group,
        svd.s,
        Decomposition.squaredNorm(group.rows, checkOf(blocks).squaredNorm, svd),
        svd.orthogonality,
        u.map(_._2),
        written.map { case (sum, _) => ExchangeWriter.U -> Checksum.hex(sum) }.toMap,
        svd.warnings,
        Set(Products.blasName),
        written.map(_._2).toSet
      )
    )
  }
}

private[bridge] object GroupTasks {

  /** Group; partition and place in it, which order what belongs to a group. */
  private type Key = (Int, Int, Int)

  /** What one task tells another about a group. */
  private sealed trait Message extends Serializable {
    def check: RowCheck
  }
  private final case class Rows(block: CheckedBlock) extends Message {
    override def check: RowCheck = block.check
  }
  private final case class Done(check: RowCheck, factors: TaskFactors) extends Message

  /** What a task has made of a group: V, and the result but for it. */
  private final case class TaskFactors(v: Array[Array[Double]], withoutV: GroupResult) {
    def result(checksum: String, file: WrittenFile): GroupResult = withoutV.copy(
      checksums = withoutV.checksums + (ExchangeWriter.V -> checksum),
      files = withoutV.files + file)
  }

  /**
   * The setting of the session that says how large a group may be, as doubles, to be decomposed in a task. By default a few
   * of them at a time fit in an executor of a gigabyte, and one is done in a second: Spark's latency for a decomposition
   * of its own would be a good part of that.
   */
  val Setting = "spark.ctmahout.groupInTask"
  private val Default = "64m"

  def fit(session: SparkSession): MatrixGroup => Boolean = {
    val bytes = SparkInternals.bytes(session.conf.get(Setting, Default))
    group => group.rows <= bytes / 8 / group.columns
  }

  private def checkOf(blocks: Seq[CheckedBlock]) = RowCheck.sum(blocks.iterator.map(_.check))

  private def isWhole(group: MatrixGroup, blocks: Seq[CheckedBlock]) = GroupCheck.isWhole(group, checkOf(blocks))
}
