package org.ctmahout.bridge
package exchange

import java.io.IOException
import java.nio.file.Paths
import java.util.UUID

import scala.util.control.NonFatal

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}

/**
 * A directory that is either whole or not there. It is filled beside its place and moved when the manifest is in it.
 *
 * Tasks that are late, or were overtaken by another attempt, may leave files in it: only what the manifest names belongs to it.
 * While one is copied in an object store there is a mark in it: what a killed process has left there may be replaced.
 */
private[bridge] class OutputDirectory(target: Path, overwrite: Boolean, hadoop: Configuration) {
  import OutputDirectory._

  /**
   * For everything that is written: Hadoop's local file system would put a hidden .crc file beside each of ours. Its
   * connector for S3 needs that one for its buffers.
   */
  val conf: Configuration = {
    val c = new Configuration(hadoop)
    if (target.toUri.getScheme == "file") {
      c.set("fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem")
      c.setBoolean("fs.file.impl.disable.cache", true)
    }
    c
  }
  private val fs: FileSystem = {
    // A JVM that is told to stop closes the shared ones while we remove what was written.
    val own = new Configuration(conf)
    own.setBoolean(s"fs.${target.toUri.getScheme}.impl.disable.cache", true)
    target.getFileSystem(own)
  }
  private val unique = UUID.randomUUID.toString.take(8)

  /** Where to write meanwhile. */
  val partial: Path = beside("partial")

  private var claim: Option[Claim] = None

  private def local(path: Path): Option[java.nio.file.Path] =
    if (fs.getUri.getScheme == "file") Some(Paths.get(path.toUri.getPath)) else None

  private def beside(what: String): Path = target.suffix(s".$what-$unique")

  /** Refuses early what could not be committed after an hour of work. */
  def checkFree(): Unit = writing {
    local(target).foreach(Claim.restore)
    if (fs.exists(target) && !isLeftover && !(overwrite && isOurs)) throw Errors("CTM_OUTPUT_EXISTS", "path" -> shown)
  }

  // Somebody else's files are not replaced, whatever the request says.
  private def isOurs: Boolean = fs.exists(new Path(target, Manifest.Name))

  // An empty object may stand for a directory; one with a mark was never finished.
  private def isLeftover: Boolean = !hasRename && !isOurs && {
    val names = fs.listStatus(target).map(_.getPath.getName)
    names.isEmpty || names.contains(Mark)
  }

  def create(): Unit = writing {
    local(target).foreach(Claim.clearAbandoned)
    make(partial)
    claim = local(partial).flatMap(Claim.of)
  }

  /** The manifest goes in last, then the directory to its place. */
  def commit(manifest: String): Unit = writing {
    put(new Path(partial, Manifest.Name), manifest)
    checkFree()
    claim.foreach(_.drop())
    if (hasRename) replaceWhole() else copyManifestLast()
  }

  /** Removes what was written, after a failure. */
  def discard(): Unit = {
    // What led here is what the user must hear.
    quietly(fs.delete(partial, true))
    quietly(claim.foreach(_.close()))
  }

  private def put(file: Path, content: String): Unit = {
    val out = fs.create(file, false)
    try out.write(content.getBytes("UTF-8"))
    finally out.close()
  }

  def make(directory: Path): Unit =
    if (!fs.mkdirs(directory)) throw new IOException(s"${Manifest.shown(directory)} could not be made")

  private def files(directory: Path): Seq[Path] = fs.listStatus(directory).toSeq.map(_.getPath)

  def writing[T](body: => T): T = OutputDirectory.writing(shown)(body)

  def shown: String = Manifest.shown(target)

  private def replaceWhole(): Unit = {
    val old = beside("old")
    val replaces = fs.exists(target)
    // If this process ends here, the next one sees that the old one is not held any more, and puts it back.
    val hold = if (replaces) local(target).flatMap(Claim.of) else None
    try {
      if (replaces) move(target, old)
      try move(partial, target)
      catch {
        case e: Throwable =>
          if (replaces) move(old, target)
          throw e
      }
      // The new one is in place: what may be left of the old one is no reason to report a failure.
      if (replaces) quietly(fs.delete(old, true))
    } finally quietly(hold.foreach(_.drop()))
  }

  /** A rename on an object store is one copy for each object, in any order: readers must not see the manifest first. */
  private def copyManifestLast(): Unit = {
    val mark = new Path(target, Mark)
    try {
      quietly(fs.delete(mark, false)) // of one that was killed
      put(mark, unique)
      // What was there ceases to be whole before it ceases to be.
      fs.delete(new Path(target, Manifest.Name), false)
      files(target).filter(_.getName != Mark).foreach(fs.delete(_, true))
      val (manifest, parts) = files(partial).partition(_.getName == Manifest.Name)
      parts.foreach(p => move(p, new Path(target, p.getName)))
      manifest.foreach(p => move(p, new Path(target, p.getName)))
    } catch {
      case e: Throwable =>
        quietly(fs.delete(target, true))
        throw e
    }
    // It is in place: what may be left is no reason to report a failure.
    quietly(fs.delete(mark, false))
    quietly(fs.delete(partial, true))
  }

  private def quietly(body: => Any): Unit =
    try {
      body
      ()
    } catch { case NonFatal(_) => () }

  private def move(from: Path, to: Path): Unit =
    if (!fs.rename(from, to))
      throw new IOException(s"${Manifest.shown(from)} could not be moved to ${Manifest.shown(to)}")

  /** Whether a directory moves in one step. */
  protected def hasRename: Boolean = !ObjectStores.contains(fs.getUri.getScheme)
}

private[bridge] object OutputDirectory {
  val Mark = "_ctmahout.partial"
  private val ObjectStores = Set("s3", "s3a", "s3n", "gs", "oss", "cosn", "obs", "wasb", "wasbs")

  /** Turns failures of the file system into an error that names the output. */
  def writing[T](shown: String)(body: => T): T =
    try body
    catch {
      case e: IOException =>
        throw Errors.because(e, "CTM_OUTPUT_UNWRITABLE", "path" -> shown, "problem" -> Errors.rootDetail(e))
    }

  /** Neither may the output lie in the input, nor the input in it: one of them would be deleted with the other. */
  def checkApart(input: Path, output: Path): Unit =
    if (within(output, input) || within(input, output))
      throw Errors("CTM_OUTPUT_IS_INPUT", "path" -> Manifest.shown(output))

  private def within(inner: Path, outer: Path): Boolean =
    Iterator.iterate(inner)(_.getParent).takeWhile(_ ne null).contains(outer)
}
