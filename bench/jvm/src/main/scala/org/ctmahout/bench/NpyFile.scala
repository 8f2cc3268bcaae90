package org.ctmahout.bench

import java.io.{DataInputStream, EOFException, File}
import java.nio.{ByteBuffer, ByteOrder}
import java.nio.channels.FileChannel
import java.nio.file.{Files, StandardOpenOption}

import org.apache.mahout.math.Matrix
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.ctmahout.samsara.{DenseBlock, FloatBlock}

/** A matrix as numpy saves it, float32 or float64 in rows, on a disk that every task sees. */
private[bench] final case class NpyFile(path: String, offset: Long, isFloat: Boolean, rows: Long, columns: Int) {
  import NpyFile._

  private def rowBytes: Long = columns.toLong * (if (isFloat) 4 else 8)

  /** The rows in blocks of the size that the bridge makes, in so many partitions. */
  def blocks(sc: SparkContext, partitions: Int): RDD[(Array[Long], Matrix)] = {
    val height = math.max(1L, BlockBytes / rowBytes)
    val starts = (0L until rows by height).map(start => (start, math.min(height, rows - start).toInt))
    sc.parallelize(starts, partitions).map { case (start, count) => (Array.tabulate(count)(start + _), read(start, count)) }
  }

  private def read(start: Long, count: Int): Matrix = {
    val bytes = ByteBuffer.allocate(Math.toIntExact(count * rowBytes)).order(ByteOrder.LITTLE_ENDIAN)
    val channel = FileChannel.open(new File(path).toPath, StandardOpenOption.READ)
    try {
      var at = offset + start * rowBytes
      while (bytes.hasRemaining) {
        val got = channel.read(bytes, at)
        if (got < 0) throw new EOFException(s"$path is shorter than its header says")
        at += got
      }
    } finally channel.close()
    bytes.flip()
    if (isFloat) {
      val values = new Array[Float](count * columns)
      bytes.asFloatBuffer.get(values)
      new FloatBlock(count, columns, values)
    } else {
      val values = new Array[Double](count * columns)
      bytes.asDoubleBuffer.get(values)
      new DenseBlock(count, columns, values)
    }
  }
}

private[bench] object NpyFile {
  private val BlockBytes = 8L << 20
  private val Header = """\{'descr': '<f([48])', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \}\s*""".r

  def open(path: String): NpyFile = {
    val in = new DataInputStream(Files.newInputStream(new File(path).toPath))
    try {
      val start = new Array[Byte](10) // magic, version 1.0, length of the header in two bytes
      in.readFully(start)
      val header = new Array[Byte]((start(8) & 0xff) | (start(9) & 0xff) << 8)
      in.readFully(header)
      new String(header, "US-ASCII") match {
        case Header(bytes, rows, columns) =>
          NpyFile(path, start.length + header.length.toLong, bytes == "4", rows.toLong, columns.toInt)
        case other => throw new IllegalArgumentException(s"$path is not a matrix of floats in rows: $other")
      }
    } finally in.close()
  }
}
