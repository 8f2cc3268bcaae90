package org.ctmahout.bridge
package exchange

import org.apache.hadoop.fs.Path

private[bridge] final case class MatrixGroup(group: Int, rows: Long, columns: Int, checksum: String)

/**
 * What the manifest of a matrix directory says, as far as this side needs it.
 *
 * @param files
 *   names of all part files, relative to the directory; None in version 1.0, where all that exist belong to it
 */
private[bridge] final case class MatrixManifest(
    path: Path,
    dtype: Dtype,
    groups: Seq[MatrixGroup],
    files: Option[Seq[String]],
    sha256: String) {
  def columns: Int = groups.head.columns

  /** Size of the values of some groups, in bytes and uncompressed. */
  def bytes(some: Seq[MatrixGroup]): Long = some.map(g => g.rows * g.columns * dtype.bytes).sum
}
