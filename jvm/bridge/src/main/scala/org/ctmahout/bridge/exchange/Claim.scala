package org.ctmahout.bridge
package exchange

import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.{Files, Path}
import java.nio.file.StandardOpenOption.{CREATE_NEW, WRITE}
import java.util.concurrent.ConcurrentHashMap

import scala.util.Try

import org.apache.hadoop.fs.FileUtil

/**
 * Tells others that a living process writes to a directory: a POSIX lock on a file in it, which ends with the process.
 * Python's side does the same (storage/locks.py), so each clears up what the other has left.
 */
private[bridge] final class Claim private (directory: Path, channel: FileChannel) extends AutoCloseable {

  /** Ends it before the directory gets its final name, without a trace in it. */
  def drop(): Unit = {
    Files.deleteIfExists(directory.resolve(Claim.Name))
    close()
  }

  def close(): Unit = {
    Claim.held.remove(directory)
    channel.close()
  }
}

private[bridge] object Claim {
  val Name = ".claim"

  // Those of this JVM: opening and closing such a file a second time would end its lock.
  private val held = ConcurrentHashMap.newKeySet[Path]()

  /** Claims a new directory; None where the file system has no locks, where nothing is ever considered abandoned. */
  def of(directory: Path): Option[Claim] = {
    held.add(directory)
    // Under its name only when it is locked: there is no moment in which it looks abandoned.
    val unlocked = directory.resolve(s"$Name-new")
    val claim = Try(FileChannel.open(unlocked, CREATE_NEW, WRITE)).toOption.flatMap { channel =>
      try {
        if (channel.tryLock() eq null) throw new IOException
        Files.move(unlocked, directory.resolve(Name))
        Some(new Claim(directory, channel))
      } catch {
        case _: IOException =>
          channel.close()
          Files.deleteIfExists(unlocked)
          None
      }
    }
    if (claim.isEmpty) held.remove(directory)
    claim
  }

  /** Removes what killed processes left beside `target`, and nothing that a living one writes. */
  def clearAbandoned(target: Path): Unit =
    withAbandoned(target, "partial")(left => FileUtil.fullyDelete(left.toFile))

  /** Puts back what a process that was replacing it had moved aside when it was killed; removes it if the new one is there. */
  def restore(target: Path): Unit =
    if (!held.contains(target)) withAbandoned(target, "old") { left =>
      if (Files.exists(target)) FileUtil.fullyDelete(left.toFile)
      else {
        Files.delete(left.resolve(Name))
        Files.move(left, target)
      }
    }

  /** Does something with each directory beside `target` that no living process holds. */
  private def withAbandoned(target: Path, what: String)(body: Path => Any): Unit = {
    val prefix = s"${target.getFileName}.$what-"
    val beside = Option(target.getParent.toFile.listFiles).toSeq.flatten.map(_.toPath)
    beside.filter(p => p.getFileName.toString.matches(java.util.regex.Pattern.quote(prefix) + ".{8}")).foreach { left =>
      if (!held.contains(left)) Try {
        val channel = FileChannel.open(left.resolve(Name), WRITE)
        try if (channel.tryLock() ne null) body(left)
        finally channel.close()
      }
      ()
    }
  }
}
