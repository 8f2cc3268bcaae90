package org.ctmahout.bridge

import java.nio.file.{Files, Path => File_}

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{Claim, Dtype, ExchangeWriter, Manifest, OutputDirectory, WrittenFile}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.io.TempDir

class OutputDirectoryTest {
  @TempDir var folder: File_ = _

  private def target: File_ = folder.resolve("out [1] %20")

  private def output(overwrite: Boolean = false) =
    new OutputDirectory(new Path("file:" + target), overwrite, new Configuration(false))

  private def here: Seq[String] = folder.toFile.list.toSeq.sorted

  private def write(output: OutputDirectory, name: String): Unit = {
    output.create()
    output.make(new Path(output.partial, "s"))
    Files.write(folder.resolve(output.partial.getName).resolve("s").resolve(name), Array[Byte](1))
    ()
  }

  @Test def appearsWholeWithItsManifest(): Unit = {
    val out = output()
    out.checkFree()
    write(out, "part")
    assertFalse(Files.exists(target))
    out.commit("{}")
    assertEquals(Seq(target.getFileName.toString), here)
    assertEquals("{}", new String(read(target.resolve(Manifest.Name))))
    assertTrue(Files.exists(target.resolve("s/part")))
    // No .crc beside it: Hadoop's own checksum files would outlive a change that is none of its business.
    assertEquals(Seq(Manifest.Name, "s"), target.toFile.list.toSeq.sorted)
  }

  @Test def makesTheFoldersAboveIt(): Unit = {
    val out = new OutputDirectory(new Path("file:" + folder.resolve("a/b/c")), false, new Configuration(false))
    out.create()
    out.commit("{}")
    assertTrue(Files.exists(folder.resolve("a/b/c").resolve(Manifest.Name)))
  }

  @Test def refusesWhatIsThere(): Unit = {
    Files.createDirectory(target)
    refused("CTM_OUTPUT_EXISTS")(output().checkFree())
    // Asked to overwrite, but this is not ours.
    refused("CTM_OUTPUT_EXISTS")(output(overwrite = true).checkFree())
    TestMatrix.manifest(target, "{}")
    refused("CTM_OUTPUT_EXISTS")(output().checkFree())
    output(overwrite = true).checkFree()
  }

  @Test def refusesWhatAppearedMeanwhile(): Unit = {
    val out = output()
    out.checkFree()
    write(out, "part")
    Files.createDirectory(target)
    refused("CTM_OUTPUT_EXISTS")(out.commit("{}"))
    out.discard()
    assertEquals(Seq(target.getFileName.toString), here)
  }

  @Test def replacesOnlyWhenComplete(): Unit = {
    val first = output()
    write(first, "old")
    first.commit("1")
    val second = output(overwrite = true)
    write(second, "new")
    assertEquals("1", new String(read(target.resolve(Manifest.Name))))
    second.commit("2")
    assertEquals("2", new String(read(target.resolve(Manifest.Name))))
    assertEquals(Seq("new"), target.resolve("s").toFile.list.toSeq)
    assertEquals(1, here.size)
  }

  @Test def discardedLeavesNothing(): Unit = {
    val out = output()
    write(out, "part")
    out.discard()
    assertEquals(Nil, here)
    out.discard()
  }

  private class Store(overwrite: Boolean = true)
      extends OutputDirectory(new Path("file:" + target), overwrite, new Configuration(false)) {
    override protected def hasRename = false
  }

  @Test def whatAKilledCopyHasLeftInAStoreIsReplaced(): Unit = {
    Files.createDirectories(target.resolve("s"))
    Files.write(target.resolve("s/left"), Array[Byte](1))
    refused("CTM_OUTPUT_EXISTS")(new Store().checkFree())
    Files.write(target.resolve(OutputDirectory.Mark), Array[Byte](1))
    refused("CTM_OUTPUT_EXISTS")(output(overwrite = true).checkFree())
    val out = new Store(overwrite = false)
    out.checkFree()
    write(out, "part")
    out.commit("1")
    assertEquals(Seq(Manifest.Name, "s"), target.toFile.list.toSeq.sorted)
    assertEquals(Seq("part"), target.resolve("s").toFile.list.toSeq)
    refused("CTM_OUTPUT_EXISTS")(new Store(overwrite = false).checkFree())
  }

  /** Nothing brings a directory back that was removed, and nothing that a task is still writing stays of it. */
  @Test def aTaskThatIsLateLeavesNothingOfARunThatFailed(): Unit = {
    val out = output()
    out.create()
    val writer = new ExchangeWriter(out, Dtype.Float64, wantU = false)
    writer.prepare()
    val row = Array(1.0, 2.0)
    writer.tasks.filling(ExchangeWriter.V, "late") { file =>
      writer.tasks.write(file, 0, 0L, row)
      out.discard()
    }
    refused("CTM_OUTPUT_UNWRITABLE")(writer.tasks.filling(ExchangeWriter.V, "later")(_ => ()))
    assertEquals(Nil, here)
  }

  @Test def whatNoTaskToldOfIsNotNamed(): Unit = {
    val out = output()
    out.create()
    val writer = new ExchangeWriter(out, Dtype.Float64, wantU = false)
    writer.prepare()
    writer.tasks.filling(ExchangeWriter.V, "part-task-7.parquet")(writer.tasks.write(_, 0, 0L, Array(1.0)))
    writer.tasks.filling(ExchangeWriter.V, "part-task-8.parquet")(writer.tasks.write(_, 0, 0L, Array(1.0)))
    writer.singularValues(Seq(0 -> Array(2.0)))
    writer.keep(Seq(WrittenFile("v/part-task-8.parquet", "v/8"), WrittenFile("v/part-task-8.parquet", "v/8")))
    assertEquals(Seq("s/part-00000.parquet", "v/part-task-8.parquet"), writer.files)
    // A task ran again when some had heard of its first attempt: both files have all its groups.
    writer.keep(Seq(WrittenFile("u/part-read-00000-3.parquet", "u/0"), WrittenFile("u/part-read-00001-4.parquet", "u/1")))
    writer.keep(Seq(WrittenFile("u/part-read-00000-9.parquet", "u/0")))
    assertEquals(
      Seq("s/part-00000.parquet", "u/part-read-00000-9.parquet", "u/part-read-00001-4.parquet", "v/part-task-8.parquet"),
      writer.files)
    out.discard()
  }

  @Test def clearsWhatNobodyClaims(): Unit = {
    def left(name: String): File_ = Files.createDirectory(folder.resolve(target.getFileName.toString + name))
    val killed = left(".partial-12345678")
    Files.createFile(killed.resolve(Claim.Name))
    val others = Seq(left(".partial-00000000"), left(".partial-1234567"), left(".old-12345678")).map(_.getFileName.toString)
    Files.createFile(folder.resolve(others(1)).resolve(Claim.Name))
    val living = output()
    write(living, "part")
    val second = output()
    write(second, "part")
    assertEquals((others ++ Seq(living, second).map(_.partial.getName)).sorted, here)
    living.discard()
    second.commit("{}")
    assertEquals((target.getFileName.toString +: others).sorted, here)
    assertEquals(Seq(Manifest.Name, "s"), target.toFile.list.toSeq.sorted)
  }

  @Test def withoutRenameTheManifestComesLast(): Unit = {
    for (content <- Seq("1", "2")) {
      val out = new Store
      write(out, "part" + content)
      out.commit(content)
      assertEquals(content, new String(read(target.resolve(Manifest.Name))))
      assertEquals(Seq("part" + content), target.resolve("s").toFile.list.toSeq)
      assertEquals(1, here.size)
    }
  }

  /** A process was killed when it had moved the old one aside, and the new one was not in its place yet. */
  @Test def whatWasMovedAsideIsPutBack(): Unit = {
    val first = output()
    write(first, "old")
    first.commit("1")
    val old = folder.resolve(target.getFileName.toString + ".old-abcdefgh")
    Files.move(target, old)
    Files.createFile(old.resolve(Claim.Name))
    refused("CTM_OUTPUT_EXISTS")(output().checkFree())
    assertEquals("1", new String(read(target.resolve(Manifest.Name))))
    assertEquals(Seq(Manifest.Name, "s"), target.toFile.list.toSeq.sorted)
    // Or a moment later: the new one is there.
    Files.createDirectory(old)
    Files.createFile(old.resolve(Claim.Name))
    val second = output(overwrite = true)
    second.checkFree()
    assertEquals(Seq(target.getFileName.toString), here)
    write(second, "new")
    second.commit("2")
    assertEquals(Seq(target.getFileName.toString), here)
    assertEquals(Seq(Manifest.Name, "s"), target.toFile.list.toSeq.sorted)
  }

  @Test def saysWhyItCannotBeWritten(): Unit = {
    Files.write(folder.resolve("file"), Array[Byte](1))
    val out = new OutputDirectory(new Path("file:" + folder.resolve("file/out")), false, new Configuration(false))
    assertTrue(refused("CTM_OUTPUT_UNWRITABLE")(out.create()).getMessage.contains("file/out cannot be written: "))
  }

  @Test def inputAndOutputLieApart(): Unit = {
    def check(input: String, output: String) = OutputDirectory.checkApart(new Path(input), new Path(output))
    check("file:/a/b", "file:/a/bc")
    check("file:/a", "s3a://a/a")
    for ((input, output) <- Seq("file:/a/b" -> "file:/a/b", "file:/a" -> "file:/a/b/c", "file:/a/b/c" -> "file:/a"))
      refused("CTM_OUTPUT_IS_INPUT")(check(input, output))
  }
}
