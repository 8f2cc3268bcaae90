package org.ctmahout.bridge

import java.io.IOException
import java.nio.file.Paths
import java.util.UUID

import scala.util.control.NonFatal

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}

/**
 * A directory that is either whole or not there. It is filled beside its place and moved when the manifest is in it.
 */
private[bridge] class OutputDirectory(target: Path, overwrite: Boolean, hadoop: Configuration) {
  import OutputDirectory._

  /** For everything that is written: Hadoop's local file system would put a hidden .crc file beside each of ours. */
  val conf: Configuration = {
    val c = new Configuration(hadoop)
    c.set("fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem")
    c.setBoolean("fs.file.impl.disable.cache", true)
    c
  }
  private val fs: FileSystem = target.getFileSystem(conf)
  private val unique = UUID.randomUUID.toString.take(8)

  /** Where to write meanwhile. */
  val partial: Path = beside("partial")

  private var claim: Option[Claim] = None

  private def local(path: Path): Option[java.nio.file.Path] =
    if (fs.getUri.getScheme == "file") Some(Paths.get(path.toUri.getPath)) else None

  private def beside(what: String): Path = target.suffix(s".$what-$unique")

  /** Refuses early what could not be committed after an hour of work. */
  def checkFree(): Unit = writing {
    if (fs.exists(target) && !(overwrite && isOurs)) throw Errors("CTM_OUTPUT_EXISTS", "path" -> shown)
  }

  // What somebody else keeps there is not ours to replace, whatever the request says.
  private def isOurs: Boolean = fs.exists(new Path(target, Manifest.Name))

  def create(): Unit = writing {
    local(target).foreach(Claim.clearAbandoned)
    make(partial)
    claim = local(partial).flatMap(Claim.of)
  }

  /** The manifest goes in last, then the directory to its place. */
  def commit(manifest: String): Unit = writing {
    val out = fs.create(new Path(partial, Manifest.Name), false)
    try out.write(manifest.getBytes("UTF-8"))
    finally out.close()
    checkFree()
    claim.foreach(_.drop())
    if (hasRename) replaceWhole() else moveManifestLast()
  }

  /** Removes what was written, after a failure. */
  def discard(): Unit = {
    quietly(fs.delete(partial, true)) // what led here is what the user must hear
    quietly(claim.foreach(_.close()))
  }

  def make(directory: Path): Unit =
    if (!fs.mkdirs(directory)) throw new IOException(s"${Manifest.shown(directory)} could not be made")

  def delete(file: Path): Unit = fs.delete(file, false)

  def files(directory: Path): Seq[Path] = fs.listStatus(directory).toSeq.map(_.getPath)

  def writing[T](body: => T): T = OutputDirectory.writing(shown)(body)

  def shown: String = Manifest.shown(target)

  private def replaceWhole(): Unit = {
    val old = beside("old")
    val replaces = fs.exists(target)
    if (replaces) move(target, old)
    try move(partial, target)
    catch {
      case e: Throwable =>
        if (replaces) move(old, target)
        throw e
    }
    // The new one is in place: what may be left of the old one is no reason to report a failure.
    if (replaces) quietly(fs.delete(old, true))
  }

  /** A rename on an object store is one copy for each object, in any order: readers must not see the manifest first. */
  private def moveManifestLast(): Unit = {
    if (fs.exists(target)) {
      fs.delete(new Path(target, Manifest.Name), false)
      fs.delete(target, true)
    }
    fs.mkdirs(target)
    val (manifest, parts) = fs.listStatus(partial).toSeq.map(_.getPath).partition(_.getName == Manifest.Name)
    (parts ++ manifest).foreach(p => move(p, new Path(target, p.getName)))
    fs.delete(partial, true)
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
