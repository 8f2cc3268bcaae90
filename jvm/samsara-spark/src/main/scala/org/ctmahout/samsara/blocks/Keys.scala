package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

/** What becomes of rows that have one and the same number. */
private[samsara] sealed trait Repeated

private[samsara] object Repeated {

  /** The last of them counts: `collect` in Mahout 14.1. */
  case object Overwritten extends Repeated

  /** They are added: its "aggregating transpose". */
  case object Summed extends Repeated

  /** There is no sense in them. */
  case object Refused extends Repeated
}

/** Rows or columns put to their numbers, of which some may come again. */
private[samsara] final class SeenRows(repeated: Repeated) {
  private val taken = new java.util.BitSet

  /** Whether something is there already, and what comes now is to be added. */
  def isSum(number: Int): Boolean = {
    val again = taken.get(number)
    if (again && repeated == Repeated.Refused)
      throw new IllegalArgumentException(s"two rows have the key $number, and a product needs each row once")
    taken.set(number)
    again && repeated == Repeated.Summed
  }
}

/**
 * Keys of rows. Int and Long are row numbers, from 0 on, and say where a row is; all others are labels.
 *
 * Arrays of keys come without their type here: they are handled as what they are.
 */
private[samsara] object Keys {
  def areNumbers(keys: ClassTag[_]): Boolean = keys == ClassTag.Int || keys == ClassTag.Long

  /** @throws UnsupportedOperationException rows with these keys have no numbers */
  def requireNumbers(keys: ClassTag[_], what: String): Unit =
    if (!areNumbers(keys))
      SparkEngine.unsupported(
        s"$what, because rows with ${keys.runtimeClass.getSimpleName} keys have no numbers (drm2IntKeyed gives them some),")

  /** @throws IllegalArgumentException a key that is no number of a row in a matrix of so many */
  def numbers(keys: Array[_], rows: Long): Array[Int] = {
    def checked(n: Long): Int =
      if (n >= 0 && n < rows) Math.toIntExact(n)
      else
        throw new IllegalArgumentException(
          s"a row has the key $n, and the matrix only $rows rows: the keys of rows are numbers from 0 on")
    keys match {
      case ints: Array[Int] => ints.map(n => checked(n.toLong))
      case longs: Array[Long] => longs.map(checked)
      case other => other.map(n => checked(n.asInstanceOf[Number].longValue)).toArray
    }
  }

  /** The numbers, for rows that are numbered. */
  def longs(keys: Array[_]): Array[Long] = keys match {
    case ints: Array[Int] => ints.map(_.toLong)
    case longs: Array[Long] => longs
    case other => other.map(_.asInstanceOf[Number].longValue).toArray
  }

  /** The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
  def mixed(x: Long): Long = {
    val y = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L
    val z = (y ^ (y >>> 27)) * 0x94d049bb133111ebL
    z ^ (z >>> 31)
  }

  /** What numbers of rows add up to, mixed: in sums of these a number that is there twice does not make up for one that is not. */
  def fingerprint(number: Long): Long = mixed(number + 0x9e3779b97f4a7c15L)

  /** The sum for 0 .. m - 1. */
  def fingerprintBelow(m: Long): Long = {
    var (sum, i) = (0L, 0L)
    while (i < m) { sum += fingerprint(i); i += 1 }
    sum
  }

  /** What is equal for keys of one row, in matrices keyed by Int and by Long too. */
  def identity(keys: Array[_], i: Int): Any = keys match {
    case ints: Array[Int] => ints(i).toLong
    case longs: Array[Long] => longs(i)
    case other => other(i)
  }

  def numbered[K](first: Long, count: Int, keys: ClassTag[K]): Array[K] =
    (if (keys == ClassTag.Long) Array.tabulate(count)(first + _) else Array.tabulate(count)(i => Math.toIntExact(first + i)))
      .asInstanceOf[Array[K]]

  def shifted[K](keys: Array[K], by: Long): Array[K] = (keys match {
    case ints: Array[Int] => ints.map(n => Math.toIntExact(n + by))
    case longs: Array[Long] => longs.map(_ + by)
    case labels => labels
  }).asInstanceOf[Array[K]]

  /** Some of them, in this order. */
  def pick[K](keys: Array[K], which: Array[Int]): Array[K] = {
    val picked = java.lang.reflect.Array.newInstance(keys.getClass.getComponentType, which.length)
    for (i <- which.indices) java.lang.reflect.Array.set(picked, i, keys(which(i)))
    picked.asInstanceOf[Array[K]]
  }

  def joined[K](pieces: Seq[Array[_]], keys: ClassTag[K]): Array[K] = {
    val all = keys.newArray(pieces.map(_.length).sum)
    var at = 0
    for (piece <- pieces) {
      for (i <- piece.indices) all(at + i) = piece(i).asInstanceOf[K]
      at += piece.length
    }
    all
  }
}
