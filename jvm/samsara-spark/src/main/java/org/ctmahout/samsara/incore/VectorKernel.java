package org.ctmahout.samsara.incore;

import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * C += op(A) B in row-major storage, with the rows of B and C padded to whole vectors.
 *
 * <p>Four rows by three vectors of C stay in registers while the sum runs: twelve accumulators, three vectors of B and
 * one of A fill the sixteen registers of AVX2, and twelve independent sums keep two multipliers busy. An element of C is
 * summed in the order of the terms whatever block it is computed in: a row comes out with the same bits wherever it is
 * computed again. Needs {@code --add-modules jdk.incubator.vector}. The build makes SingleKernel of it, for floats.
 */
final class VectorKernel {
  private static final VectorSpecies<Double> SPECIES = DoubleVector.SPECIES_PREFERRED;
  private static final int LANES = SPECIES.length();

  /** Terms summed in one go: so many rows of three vectors of B, and a line of A for each, stay in the first-level cache. */
  private static final int DEPTH = 64;

  private VectorKernel() {}

  /** The multiple of the vector length that is not below n. */
  static int padded(int n) {
    return (n + LANES - 1) / LANES * LANES;
  }

  /**
   * Adds op(A) B to C. Element (i, k) of op(A) is {@code a[aAt + i * aRow + k * aTerm]}.
   *
   * @param columns padded columns of B and C
   * @param fromDiagonal leave out what lies wholly below the diagonal of C
   */
  static void multiplyAdd(
      int rows, int columns, int terms,
      double[] a, int aAt, int aRow, int aTerm,
      double[] b, int bAt, int bRow,
      double[] c, int cAt, int cRow,
      boolean fromDiagonal) {
    if (aTerm < FAR || columns < MANY) {
      add(0, rows, columns, terms, a, aAt, aRow, aTerm, b, bAt, bRow, c, cAt, cRow, fromDiagonal);
      return;
    }
    double[] side = SIDE.get();
    for (int k = 0; k < terms; k += DEPTH) {
      int depth = Math.min(DEPTH, terms - k);
      for (int top = 0; top < rows; top += HEIGHT) {
        int height = Math.min(HEIGHT, rows - top);
        for (int t = 0; t < depth; t++)
          for (int i = 0; i < height; i++) side[i * DEPTH + t] = a[aAt + (top + i) * aRow + (k + t) * aTerm];
        add(top, height, columns, depth, side, 0, DEPTH, 1, b, bAt + k * bRow, bRow, c, cAt + top * cRow, cRow, fromDiagonal);
      }
    }
  }

  /** Numbers apart from which on each is on a page of its own, and columns from which on copying it is little beside using it. */
  private static final int FAR = 512;
  private static final int MANY = 32;

  /** Rows of op(A) copied at a time: they stay in the second-level cache. */
  private static final int HEIGHT = 128;

  private static final ThreadLocal<double[]> SIDE = ThreadLocal.withInitial(() -> new double[HEIGHT * DEPTH]);

  /**
   * Adds to a row of C the rows of B that a sparse row names, each times its value: {@code values[e]} of them is for row
   * {@code indices[e]}. Six vectors of C stay in registers while the sum runs over all of them.
   *
   * @param columns padded columns of B and C, which are as far apart in B
   */
  static void addSparseTimes(
      double[] values, int[] indices, int from, int to, double[] b, double[] c, int cAt, int columns) {
    int j = 0;
    for (; j + 6 * LANES <= columns; j += 6 * LANES) {
      int y = cAt + j;
      DoubleVector s0 = load(c, y);
      DoubleVector s1 = load(c, y + LANES);
      DoubleVector s2 = load(c, y + 2 * LANES);
      DoubleVector s3 = load(c, y + 3 * LANES);
      DoubleVector s4 = load(c, y + 4 * LANES);
      DoubleVector s5 = load(c, y + 5 * LANES);
      for (int e = from; e < to; e++) {
        DoubleVector x = DoubleVector.broadcast(SPECIES, values[e]);
        int z = indices[e] * columns + j;
        s0 = x.fma(load(b, z), s0);
        s1 = x.fma(load(b, z + LANES), s1);
        s2 = x.fma(load(b, z + 2 * LANES), s2);
        s3 = x.fma(load(b, z + 3 * LANES), s3);
        s4 = x.fma(load(b, z + 4 * LANES), s4);
        s5 = x.fma(load(b, z + 5 * LANES), s5);
      }
      s0.intoArray(c, y);
      s1.intoArray(c, y + LANES);
      s2.intoArray(c, y + 2 * LANES);
      s3.intoArray(c, y + 3 * LANES);
      s4.intoArray(c, y + 4 * LANES);
      s5.intoArray(c, y + 5 * LANES);
    }
    for (; j < columns; j += LANES) {
      DoubleVector s = load(c, cAt + j);
      for (int e = from; e < to; e++)
        s = DoubleVector.broadcast(SPECIES, values[e]).fma(load(b, indices[e] * columns + j), s);
      s.intoArray(c, cAt + j);
    }
  }

  /** Adds x times a row of B to a row of C. */
  static void addMultiple(double x, double[] b, int bAt, double[] c, int cAt, int columns) {
    DoubleVector factor = DoubleVector.broadcast(SPECIES, x);
    for (int j = 0; j < columns; j += LANES) factor.fma(load(b, bAt + j), load(c, cAt + j)).intoArray(c, cAt + j);
  }

  /** @param top number of the first row, for the diagonal */
  private static void add(
      int top, int rows, int columns, int terms,
      double[] a, int aAt, int aRow, int aTerm,
      double[] b, int bAt, int bRow,
      double[] c, int cAt, int cRow,
      boolean fromDiagonal) {
    for (int k = 0; k < terms; k += DEPTH) {
      int depth = Math.min(DEPTH, terms - k);
      int ak = aAt + k * aTerm;
      int bk = bAt + k * bRow;
      // All rows for one panel of B before the next: the panel stays in the first-level cache.
      for (int j = 0; j < columns; ) {
        int left = (columns - j) / LANES;
        int vectors = left == 4 ? 2 : Math.min(3, left); // two by two costs less than three and one
        int last = fromDiagonal ? Math.min(rows, j + vectors * LANES - top) : rows;
        int i = 0;
        for (; i + 4 <= last; i += 4) {
          int ai = ak + i * aRow;
          int ci = cAt + i * cRow + j;
          switch (vectors) {
            case 3 -> fourByThree(depth, a, ai, aRow, aTerm, b, bk + j, bRow, c, ci, cRow);
            case 2 -> fourByTwo(depth, a, ai, aRow, aTerm, b, bk + j, bRow, c, ci, cRow);
            default -> fourByOne(depth, a, ai, aRow, aTerm, b, bk + j, bRow, c, ci, cRow);
          }
        }
        for (; i < last; i++) {
          for (int v = 0; v < vectors; v++) {
            int jv = j + v * LANES;
            oneByOne(depth, a, ak + i * aRow, aTerm, b, bk + jv, bRow, c, cAt + i * cRow + jv);
          }
        }
        j += vectors * LANES;
      }
    }
  }

  private static void fourByThree(
      int depth, double[] a, int a0, int aRow, int aTerm, double[] b, int b0, int bRow, double[] c, int c0, int cRow) {
    int c1 = c0 + cRow;
    int c2 = c1 + cRow;
    int c3 = c2 + cRow;
    DoubleVector s00 = load(c, c0);
    DoubleVector s01 = load(c, c0 + LANES);
    DoubleVector s02 = load(c, c0 + 2 * LANES);
    DoubleVector s10 = load(c, c1);
    DoubleVector s11 = load(c, c1 + LANES);
    DoubleVector s12 = load(c, c1 + 2 * LANES);
    DoubleVector s20 = load(c, c2);
    DoubleVector s21 = load(c, c2 + LANES);
    DoubleVector s22 = load(c, c2 + 2 * LANES);
    DoubleVector s30 = load(c, c3);
    DoubleVector s31 = load(c, c3 + LANES);
    DoubleVector s32 = load(c, c3 + 2 * LANES);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      DoubleVector y0 = load(b, y);
      DoubleVector y1 = load(b, y + LANES);
      DoubleVector y2 = load(b, y + 2 * LANES);
      DoubleVector t = DoubleVector.broadcast(SPECIES, a[x]);
      s00 = t.fma(y0, s00);
      s01 = t.fma(y1, s01);
      s02 = t.fma(y2, s02);
      t = DoubleVector.broadcast(SPECIES, a[x + aRow]);
      s10 = t.fma(y0, s10);
      s11 = t.fma(y1, s11);
      s12 = t.fma(y2, s12);
      t = DoubleVector.broadcast(SPECIES, a[x + 2 * aRow]);
      s20 = t.fma(y0, s20);
      s21 = t.fma(y1, s21);
      s22 = t.fma(y2, s22);
      t = DoubleVector.broadcast(SPECIES, a[x + 3 * aRow]);
      s30 = t.fma(y0, s30);
      s31 = t.fma(y1, s31);
      s32 = t.fma(y2, s32);
      x += aTerm;
      y += bRow;
    }
    s00.intoArray(c, c0);
    s01.intoArray(c, c0 + LANES);
    s02.intoArray(c, c0 + 2 * LANES);
    s10.intoArray(c, c1);
    s11.intoArray(c, c1 + LANES);
    s12.intoArray(c, c1 + 2 * LANES);
    s20.intoArray(c, c2);
    s21.intoArray(c, c2 + LANES);
    s22.intoArray(c, c2 + 2 * LANES);
    s30.intoArray(c, c3);
    s31.intoArray(c, c3 + LANES);
    s32.intoArray(c, c3 + 2 * LANES);
  }

  private static void fourByTwo(
      int depth, double[] a, int a0, int aRow, int aTerm, double[] b, int b0, int bRow, double[] c, int c0, int cRow) {
    int c1 = c0 + cRow;
    int c2 = c1 + cRow;
    int c3 = c2 + cRow;
    DoubleVector s00 = load(c, c0);
    DoubleVector s01 = load(c, c0 + LANES);
    DoubleVector s10 = load(c, c1);
    DoubleVector s11 = load(c, c1 + LANES);
    DoubleVector s20 = load(c, c2);
    DoubleVector s21 = load(c, c2 + LANES);
    DoubleVector s30 = load(c, c3);
    DoubleVector s31 = load(c, c3 + LANES);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      DoubleVector y0 = load(b, y);
      DoubleVector y1 = load(b, y + LANES);
      DoubleVector t = DoubleVector.broadcast(SPECIES, a[x]);
      s00 = t.fma(y0, s00);
      s01 = t.fma(y1, s01);
      t = DoubleVector.broadcast(SPECIES, a[x + aRow]);
      s10 = t.fma(y0, s10);
      s11 = t.fma(y1, s11);
      t = DoubleVector.broadcast(SPECIES, a[x + 2 * aRow]);
      s20 = t.fma(y0, s20);
      s21 = t.fma(y1, s21);
      t = DoubleVector.broadcast(SPECIES, a[x + 3 * aRow]);
      s30 = t.fma(y0, s30);
      s31 = t.fma(y1, s31);
      x += aTerm;
      y += bRow;
    }
    s00.intoArray(c, c0);
    s01.intoArray(c, c0 + LANES);
    s10.intoArray(c, c1);
    s11.intoArray(c, c1 + LANES);
    s20.intoArray(c, c2);
    s21.intoArray(c, c2 + LANES);
    s30.intoArray(c, c3);
    s31.intoArray(c, c3 + LANES);
  }

  private static void fourByOne(
      int depth, double[] a, int a0, int aRow, int aTerm, double[] b, int b0, int bRow, double[] c, int c0, int cRow) {
    DoubleVector s0 = load(c, c0);
    DoubleVector s1 = load(c, c0 + cRow);
    DoubleVector s2 = load(c, c0 + 2 * cRow);
    DoubleVector s3 = load(c, c0 + 3 * cRow);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      DoubleVector y0 = load(b, y);
      s0 = DoubleVector.broadcast(SPECIES, a[x]).fma(y0, s0);
      s1 = DoubleVector.broadcast(SPECIES, a[x + aRow]).fma(y0, s1);
      s2 = DoubleVector.broadcast(SPECIES, a[x + 2 * aRow]).fma(y0, s2);
      s3 = DoubleVector.broadcast(SPECIES, a[x + 3 * aRow]).fma(y0, s3);
      x += aTerm;
      y += bRow;
    }
    s0.intoArray(c, c0);
    s1.intoArray(c, c0 + cRow);
    s2.intoArray(c, c0 + 2 * cRow);
    s3.intoArray(c, c0 + 3 * cRow);
  }

  private static void oneByOne(
      int depth, double[] a, int a0, int aTerm, double[] b, int b0, int bRow, double[] c, int c0) {
    DoubleVector s = load(c, c0);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      s = DoubleVector.broadcast(SPECIES, a[x]).fma(load(b, y), s);
      x += aTerm;
      y += bRow;
    }
    s.intoArray(c, c0);
  }

  private static DoubleVector load(double[] from, int at) {
    return DoubleVector.fromArray(SPECIES, from, at);
  }
}
