package org.ctmahout.bridge

import java.nio.file.{Files, Path => File_}

import org.apache.hadoop.fs.{FileSystem, Path}
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.util.ArrayData
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{
  BlockBuilder,
  CachedGroup,
  CheckedBlocks,
  Checksum,
  Dtype,
  ExchangeReader,
  Manifest,
  MatrixGroup,
  MatrixManifest,
  PartFiles,
  ReadingSession,
  RowDiagnosis,
  Values
}
import org.ctmahout.samsara.ClusterContext
import org.junit.jupiter.api.{AfterEach, Test}
import org.junit.jupiter.api.Assertions.{assertArrayEquals, assertEquals, assertTrue}
import org.junit.jupiter.api.io.TempDir

class ExchangeReaderTest {
  @TempDir var folder: File_ = _

  private def matrix: File_ = folder.resolve("m [1] {a,b} %20 é")

  private def open[T](body: (SparkSession, FileSystem, MatrixManifest) => T): T =
    ReadingSession.beside(spark) { session =>
      val path = new Path(matrix.toString)
      val fs = path.getFileSystem(ReadingSession.hadoop(session))
      body(session, fs, Manifest.readMatrix(fs, fs.makeQualified(path)))
    }

  private def opened[T](reader: ExchangeReader, group: Int = 0, partitions: Int = 2)(body: CachedGroup => T): T = {
    val cached = reader.open(reader.manifest.groups(group), partitions)
    try body(cached)
    finally cached.free()
  }

  /** Reads a group and returns its rows in order, and in how many partitions they were. */
  private def read(group: Int = 0, partitions: Int = 2): (Seq[(Long, Seq[Double])], Int) = open { (session, fs, manifest) =>
    opened(new ExchangeReader(session, fs, manifest), group, partitions) { cached =>
      val rows = cached.checked(cached.blocks.collect().toSeq)._1.flatMap { block =>
        val values: Seq[Double] = block.values match {
          case floats: Array[Float] => floats.toSeq.map(_.toDouble)
          case other => other.asInstanceOf[Array[Double]].toSeq
        }
        block.rows.toSeq.zip(values.grouped(manifest.columns).toSeq)
      }
      (rows.sortBy(_._1), cached.blocks.getNumPartitions)
    }
  }

  @AfterEach def nothingStaysCached(): Unit = assertEquals(0, spark.sparkContext.getPersistentRDDs.size)

  @Test def givesBackWhatWasWritten(): Unit =
    for (dtype <- Dtype.all) {
      val a = gaussian(1000, 5).map(_.map(x => if (dtype == Dtype.Float32) x.toFloat.toDouble else x))
      TestMatrix.write(matrix.resolve("../" + matrix.getFileName), Seq(a), dtype, files = 3)
      for (partitions <- Seq(1, 2, 7)) {
        val (rows, parts) = read(partitions = partitions)
        assertTrue(parts <= partitions)
        assertEquals(0L until 1000L, rows.map(_._1))
        assertEquals(a.toSeq.map(_.toSeq), rows.map(_._2))
      }
    }

  /** Four files for each of three groups: all partitions of a group have rows, as many each, and none has another group's. */
  @Test def eachGroupReadsItsOwnRowsOnAllCores(): Unit = {
    val rows = for (g <- 0 until 3; row <- TestMatrix.numbered(gaussian(400, 5, g))) yield (g, row)
    TestMatrix.writeInOrder(matrix, rows, Seq.fill(3)(400L), Dtype.Float64, files = 12)
    open { (session, fs, manifest) =>
      val reader = new ExchangeReader(session, fs, manifest)
      for (g <- manifest.groups) {
        val read = reader.rows(Seq(g), 4, whole = false).mapPartitions(some => Iterator.single(some.map(_.getInt(0)).toList)).collect()
        assertEquals(Seq.fill(4)(100), read.toSeq.map(_.size))
        assertEquals(Set(g.group), read.flatten.toSet)
      }
    }
  }

  @Test def acceleratorsOfQueriesDoNotComeBetween(): Unit = {
    val a = gaussian(100, 5)
    TestMatrix.write(matrix, Seq(a), Dtype.Float64)
    Accelerator.isOn = true
    try assertEquals(a.toSeq.map(_.toSeq), read()._1.map(_._2))
    finally Accelerator.isOn = false
  }

  @Test def whatDoesNotFitInMemoryIsReadAgain(): Unit = {
    val a = gaussian(1000, 5)
    TestMatrix.write(matrix, Seq(a), Dtype.Float64, files = 8)
    for ((memory, kept) <- Seq((1L << 20) -> 8, 40000L -> 4, 20L -> 0))
      open { (session, fs, manifest) =>
        opened(new ExchangeReader(session, fs, manifest, memory), partitions = 8) { cached =>
          assertEquals(kept * 5000L, cached.promisedBytes)
          for (_ <- 1 to 2) {
            val (rows, squaredNorm) = cached.checked(cached.blocks.collect().flatMap(_.rows))
            assertEquals(0L until 1000L, rows.toSeq.sorted)
            assertEquals(a.flatten.map(x => x * x).sum, squaredNorm, 1e-9)
            assertEquals(0, cached.promisedBytes)
          }
          assertEquals(kept, spark.sparkContext.getRDDStorageInfo.map(_.numCachedPartitions).sum)
        }
      }
  }

  /** The values of blocks that are not kept do not last. */
  @Test def whatIsComputedHasTheSameBitsWhateverIsKept(): Unit = {
    TestMatrix.write(matrix, Seq(graded(4000, 300)), files = 8)
    def factors(algorithm: String, k: Int, memory: Long): Seq[Any] = open { (session, fs, manifest) =>
      val request = Request.parse(s"""{"input": "/a", "output": "/b", "algorithm": "$algorithm", "k": $k, "q": 1}""")
      opened(new ExchangeReader(session, fs, manifest, memory), partitions = 2) { cached =>
        val samsara = new ClusterContext(spark.sparkContext, keepsSketch = true, promisedBytes = () => cached.promisedBytes)
        try {
          val a = samsara.drm[Long](cached.blocks.map(Decomposition.block(_, 300)), 4000, 300)
          val (svd, squaredNorm) = cached.checked(Decomposition.of(a, request))
          val kept = spark.sparkContext.getRDDStorageInfo.filter(_.name.endsWith("group 0")).map(_.numCachedPartitions).sum
          val u = Decomposition.u(svd).rdd.flatMap(Decomposition.rows).collect().toSeq.sortBy(_._1)
          val centred = Decomposition.squaredNorm(4000, squaredNorm, svd)
          val bits = (svd.s +: (Decomposition.v(svd) ++ u.map(_._2))).map(x => java.util.Arrays.hashCode(x))
          Seq[Any](kept, u.map(_._1).hashCode, centred) ++ bits
        } finally samsara.close()
      }
    }
    for ((algorithm, k) <- Seq("dssvd" -> 20, "dssvd" -> 150, "exact" -> 20, "dspca" -> 20)) {
      val (all, half, none) = (factors(algorithm, k, 1L << 30), factors(algorithm, k, 4500000L), factors(algorithm, k, 1L))
      assertEquals(Seq(2, 1, 0), Seq(all, half, none).map(_.head))
      assertEquals(all.tail, half.tail, algorithm)
      assertEquals(all.tail, none.tail, algorithm)
    }
  }

  @Test def keepsAllOrLeavesRoom(): Unit = {
    assertEquals(24, CachedGroup.fitting(24, 900, 1000))
    assertEquals(14, CachedGroup.fitting(24, 1000, 1000))
    for (bytes <- Iterator.iterate(1L)(_ * 3).takeWhile(_ < (1L << 50)); memory <- Seq(0L, 1L, 1L << 30, 1L << 45)) {
      val kept = CachedGroup.fitting(100, bytes, memory)
      assertTrue(0 <= kept && kept <= 100 && kept * bytes <= 100 * memory, s"$kept of $bytes in $memory")
    }
  }

  /**
   * As when an executor is lost between reading and what is done with it: the blocks are kept, and not read again. One
   * partition, since a task that fails ends those beside it, which may or may not have read theirs.
   */
  @Test def whatWasReadForNothingIsCheckedAllTheSame(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(100, 5)), Dtype.Float64)
    open { (session, fs, manifest) =>
      opened(new ExchangeReader(session, fs, manifest), partitions = 1) { cached =>
        refused("CTM_ENGINE_FAILED")(cached.checked(cached.blocks.foreachPartition { some =>
          some.foreach(_ => ())
          throw new IllegalStateException("lost")
        }))
        assertEquals(1, spark.sparkContext.getRDDStorageInfo.map(_.numCachedPartitions).sum)
        assertEquals(gaussian(100, 5).flatten.map(x => x * x).sum, cached.checked(cached.blocks.count())._2, 1e-9)
      }
    }
  }

  @Test def whatIsWrongWithRowsIsSaidBeforeWhatFailedOverThem(): Unit = {
    def fails(): Unit = throw new ArithmeticException("so much is infinite")
    def failing(code: String, read: CachedGroup => Any) = open { (session, fs, manifest) =>
      opened(new ExchangeReader(session, fs, manifest)) { cached =>
        refused(code)(cached.checked { read(cached); fails() })
      }
    }
    TestMatrix.writeRows(matrix, Seq(TestMatrix.numbered(gaussian(40, 3)).drop(1)), Seq(40))
    failing("CTM_EXCHANGE_ROW_MISSING", _.blocks.count())
    failing("CTM_ENGINE_FAILED", identity) // nothing was read, so nothing is known to be wrong
    TestMatrix.write(matrix, Seq(gaussian(40, 3)))
    assertTrue(failing("CTM_ENGINE_FAILED", _.blocks.count()).getMessage.contains("infinite"))
  }

  @Test def readsOneGroupOfSeveral(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(30, 4, 1), gaussian(50, 4, 2), gaussian(40, 4, 3)), Dtype.Float64)
    assertEquals(gaussian(50, 4, 2).toSeq.map(_.toSeq), read(group = 1)._1.map(_._2))
  }

  @Test def cutsLargeMatricesIntoBlocks(): Unit = {
    for ((columns, height) <- Seq(1 -> 65536, 301 -> 870, 5000 -> 256, 100000 -> 20, 10000000 -> 1))
      assertEquals(height, BlockBuilder.height(columns, Dtype.Float32))
    val group = MatrixGroup(0, 200000, 1, "")
    val rows = Iterator.tabulate(200000)(i => InternalRow(0, i.toLong, ArrayData.toArrayData(Array(1.0f))))
    val blocks = new CheckedBlocks(rows, group, Values.Floats, lasting = true).toSeq
    assertEquals(Seq(65536, 65536, 65536, 3392), blocks.map(_.rows.length))
    assertEquals(200000.0, blocks.map(_.check.squaredNorm).sum)
  }

  private def refusedRows(code: String, about: String, rows: Long)(change: TestMatrix.Rows => TestMatrix.Rows): Unit = {
    TestMatrix.writeRows(matrix, Seq(change(TestMatrix.numbered(gaussian(rows.toInt, 3)))), Seq(rows))
    val e = refused(code)(read())
    assertTrue(e.getMessage.contains(about), e.getMessage)
  }

  @Test def namesTheSmallestRowOfTheWrongWidth(): Unit =
    refusedRows("CTM_EXCHANGE_WIDTH", "row 17 of group 0 has 2 values, expected 3", 40)(_.map {
      case (row, values) => (row, if (row == 17 || row == 38) values.take(2) else values)
    })

  @Test def namesTheSmallestRowThatIsNotFinite(): Unit =
    for (bad <- Seq(Double.NaN, Double.PositiveInfinity, Double.NegativeInfinity))
      refusedRows("CTM_EXCHANGE_NOT_FINITE", "row 5 of group 0", 40)(_.map {
        case (row, values) => (row, if (row == 5 || row == 6) Array(0, 0, bad) else values)
      })

  @Test def namesTheSmallestRowOutOfRange(): Unit = {
    refusedRows("CTM_EXCHANGE_ROW_RANGE", "row 40 of group 0 lies outside 0 to 39", 40)(_.map {
      case (row, values) => (if (row == 3) 40 else row, values)
    })
    refusedRows("CTM_EXCHANGE_ROW_RANGE", "row -1 of group 0", 40)(_.map {
      case (row, values) => (if (row == 3) -1 else row, values)
    })
  }

  @Test def theSmallestRowIsNamedWhateverIsWrongWithIt(): Unit =
    refusedRows("CTM_EXCHANGE_NOT_FINITE", "row 2 ", 40)(_.map {
      case (2, _) => (2L, Array(0, Double.NaN, 0))
      case (9, _) => (9L, Array(0.0))
      case other => other
    })

  @Test def namesTheSmallestRowThatIsThereTwice(): Unit = {
    refusedRows("CTM_EXCHANGE_ROW_DUPLICATE", "row 11 of group 0", 40)(rows => rows ++ Seq(rows(11), rows(12)))
    // As many rows as there should be: a duplicate is reported before the row that it stands in for.
    refusedRows("CTM_EXCHANGE_ROW_DUPLICATE", "row 11 of group 0", 40)(_.map {
      case (row, values) => (if (row == 7) 11 else row, values)
    })
  }

  @Test def namesTheSmallestMissingRow(): Unit = {
    refusedRows("CTM_EXCHANGE_ROW_MISSING", "row 8 of group 0 is missing (38 rows, expected 40)", 40)(
      _.filter { case (row, _) => row != 8 && row != 39 })
    refusedRows("CTM_EXCHANGE_ROW_MISSING", "row 39 of group 0 is missing (39 rows", 40)(_.init)
  }

  @Test def findsDuplicatesAndGapsAmongMillions(): Unit = {
    def of(rows: Long)(numbers: Array[Long]*) = RowDiagnosis.of(spark.sparkContext.parallelize(numbers, numbers.size), rows)
    val million = 1L << 20
    assertEquals(RowDiagnosis.Missing(million, million), of(million + 1)(Array.range(0, million.toInt).map(_.toLong)))
    assertEquals(RowDiagnosis.Missing(0, 1), of(3 * million)(Array(2 * million)))
    assertEquals(RowDiagnosis.Duplicate(million + 5), of(3 * million)(Array(million + 5, million + 7), Array(million + 7, million + 5)))
  }

  @Test def aMatrixWithoutFilesMissesItsFirstRow(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(10, 3)))
    parts().foreach(Files.delete(_))
    assertTrue(refused("CTM_EXCHANGE_ROW_MISSING")(read()).getMessage.contains("row 0 of group 0 is missing (0 rows"))
  }

  @Test def changedValuesHaveAnotherChecksum(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(10, 3)))
    val manifest = new String(Testing.read(matrix.resolve(Manifest.Name)))
    val other = "checksum\":\"0000000000000000"
    TestMatrix.manifest(matrix, manifest.replaceFirst("checksum\":\"[0-9a-f]{16}", other))
    assertTrue(refused("CTM_EXCHANGE_CHECKSUM")(read()).getMessage.endsWith("expected 0000000000000000."))
  }

  private def parts(): Seq[File_] =
    matrix.toFile.list.toSeq.filter(_.startsWith("part-")).sorted.map(name => matrix.resolve(name))

  /** Both of Spark's readers, since a user may have switched the first off for the cluster. */
  @Test def aFlippedBitInAPageIsNoticed(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(3000, 8)), files = 1)
    val file = parts().head
    val whole = Testing.read(file)
    val damaged = whole.clone()
    damaged(whole.length / 2) = (damaged(whole.length / 2) ^ 4).toByte
    Files.write(file, damaged)
    assertTrue(refused("CTM_EXCHANGE_CORRUPT")(read()).getMessage.contains("CRC"))
    for (vectorised <- Seq("true", "false"))
      open { (session, fs, manifest) =>
        session.conf.set("spark.sql.parquet.enableVectorizedReader", vectorised)
        val e = refused("CTM_EXCHANGE_CORRUPT")(opened(new ExchangeReader(session, fs, manifest))(_.checked(())))
        assertTrue(e.getMessage.contains("CRC"), e.getMessage)
      }
  }

  @Test def aTruncatedFileIsCorrupt(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(300, 8)))
    val file = parts()(1)
    Files.write(file, Testing.read(file).dropRight(100))
    val e = refused("CTM_EXCHANGE_CORRUPT")(read())
    assertTrue(e.getMessage.contains("part-00001.parquet cannot be read as Parquet"), e.getMessage)
  }

  @Test def filesOfAnotherSchemaAreRefusedByName(): Unit = {
    TestMatrix.write(matrix, Seq(gaussian(30, 4)), Dtype.Float64)
    val double = parts()(1)
    val kept = Testing.read(double)
    TestMatrix.write(matrix, Seq(gaussian(30, 4)), Dtype.Float32)
    Files.write(double, kept)
    val e = refused("CTM_EXCHANGE_SCHEMA")(read())
    assertTrue(e.getMessage.contains("part-00001.parquet: column values is"), e.getMessage)
    assertTrue(e.getMessage.contains("expected a LIST of FLOAT, not null"), e.getMessage)
  }

  @Test def columnsMustBeThereWithTheirTypes(): Unit = {
    import org.apache.parquet.schema.MessageTypeParser.parseMessageType
    def problem(group: String, row: String, values: String) =
      PartFiles.schemaProblem(parseMessageType(s"message m { $row $group $values }"), Dtype.Float32).getOrElse("")
    val group = "required int32 group;"
    val row = "required int64 row;"
    val values = "required group values (LIST) { repeated group bag { required float item; } }"
    assertEquals("", problem(group, row, values))
    assertEquals("", problem(group + " optional binary more;", row, values))
    assertTrue(problem("", row, values).startsWith("column group is missing"))
    assertTrue(problem("required int32 Group;", row, values).startsWith("column group is missing"))
    for (wrong <- Seq("optional int32 group;", "required int64 group;", "required int32 group (UINT_32);", "required int32 group (DATE);"))
      assertTrue(problem(wrong, row, values).startsWith("column group is"), wrong)
    for (wrong <- Seq("required int32 row;", "required int64 row (TIMESTAMP_MILLIS);", "repeated int64 row;"))
      assertTrue(problem(group, wrong, values).startsWith("column row is"), wrong)
    for (wrong <- Seq(
        "required float values;",
        "repeated float values;",
        "optional group values (LIST) { repeated group list { required float element; } }",
        "required group values (LIST) { repeated group list { optional float element; } }",
        "required group values (LIST) { repeated group list { required double element; } }",
        "required group values { repeated group list { required float element; } }"
      ))
      assertTrue(problem(group, row, wrong).startsWith("column values is"), wrong)
  }

  @Test def weightsAreThoseOfTheColumns(): Unit = {
    assertArrayEquals(Checksum.weights(5).take(3), Checksum.weights(3))
  }
}
