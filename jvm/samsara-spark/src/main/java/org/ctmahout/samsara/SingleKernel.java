package org.ctmahout.samsara;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * C += op(A) B as {@link VectorKernel} does it, in single precision: half the bytes, and twice the numbers to a vector.
 *
 * <p>Four rows by three vectors of C stay in registers. An element of C is summed in the order of the terms whatever
 * block it is computed in: a row comes out with the same bits wherever it is computed again.
 */
final class SingleKernel {
  private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = SPECIES.length();

  /** Terms summed in one go: so many rows of three vectors of B stay in the first-level cache. */
  private static final int DEPTH = 128;

  private SingleKernel() {}

  /** The multiple of the vector length that is not below n. */
  static int padded(int n) {
    return (n + LANES - 1) / LANES * LANES;
  }

  /**
   * Adds op(A) B to C. Element (i, k) of op(A) is {@code a[aAt + i * aRow + k * aTerm]}.
   *
   * @param width padded columns of B and C, and how far apart their rows are
   */
  static void multiplyAdd(
      int rows, int width, int terms, float[] a, int aAt, int aRow, int aTerm, float[] b, int bAt, float[] c, int cAt) {
    for (int k = 0; k < terms; k += DEPTH) {
      int depth = Math.min(DEPTH, terms - k);
      int ak = aAt + k * aTerm;
      int bk = bAt + k * width;
      for (int j = 0; j < width; ) {
        int left = (width - j) / LANES;
        int vectors = left == 4 ? 2 : Math.min(3, left); // two by two costs less than three and one
        int i = 0;
        for (; i + 4 <= rows; i += 4) {
          int ai = ak + i * aRow;
          int ci = cAt + i * width + j;
          switch (vectors) {
            case 3 -> fourByThree(depth, a, ai, aRow, aTerm, b, bk + j, width, c, ci);
            case 2 -> fourByTwo(depth, a, ai, aRow, aTerm, b, bk + j, width, c, ci);
            default -> fourByOne(depth, a, ai, aRow, aTerm, b, bk + j, width, c, ci);
          }
        }
        for (; i < rows; i++) {
          for (int v = j; v < j + vectors * LANES; v += LANES)
            oneByOne(depth, a, ak + i * aRow, aTerm, b, bk + v, width, c, cAt + i * width + v);
        }
        j += vectors * LANES;
      }
    }
  }

  private static void fourByThree(
      int depth, float[] a, int a0, int aRow, int aTerm, float[] b, int b0, int width, float[] c, int c0) {
    int c1 = c0 + width;
    int c2 = c1 + width;
    int c3 = c2 + width;
    FloatVector s00 = load(c, c0);
    FloatVector s01 = load(c, c0 + LANES);
    FloatVector s02 = load(c, c0 + 2 * LANES);
    FloatVector s10 = load(c, c1);
    FloatVector s11 = load(c, c1 + LANES);
    FloatVector s12 = load(c, c1 + 2 * LANES);
    FloatVector s20 = load(c, c2);
    FloatVector s21 = load(c, c2 + LANES);
    FloatVector s22 = load(c, c2 + 2 * LANES);
    FloatVector s30 = load(c, c3);
    FloatVector s31 = load(c, c3 + LANES);
    FloatVector s32 = load(c, c3 + 2 * LANES);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      FloatVector y0 = load(b, y);
      FloatVector y1 = load(b, y + LANES);
      FloatVector y2 = load(b, y + 2 * LANES);
      FloatVector t = FloatVector.broadcast(SPECIES, a[x]);
      s00 = t.fma(y0, s00);
      s01 = t.fma(y1, s01);
      s02 = t.fma(y2, s02);
      t = FloatVector.broadcast(SPECIES, a[x + aRow]);
      s10 = t.fma(y0, s10);
      s11 = t.fma(y1, s11);
      s12 = t.fma(y2, s12);
      t = FloatVector.broadcast(SPECIES, a[x + 2 * aRow]);
      s20 = t.fma(y0, s20);
      s21 = t.fma(y1, s21);
      s22 = t.fma(y2, s22);
      t = FloatVector.broadcast(SPECIES, a[x + 3 * aRow]);
      s30 = t.fma(y0, s30);
      s31 = t.fma(y1, s31);
      s32 = t.fma(y2, s32);
      x += aTerm;
      y += width;
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
      int depth, float[] a, int a0, int aRow, int aTerm, float[] b, int b0, int width, float[] c, int c0) {
    int c1 = c0 + width;
    int c2 = c1 + width;
    int c3 = c2 + width;
    FloatVector s00 = load(c, c0);
    FloatVector s01 = load(c, c0 + LANES);
    FloatVector s10 = load(c, c1);
    FloatVector s11 = load(c, c1 + LANES);
    FloatVector s20 = load(c, c2);
    FloatVector s21 = load(c, c2 + LANES);
    FloatVector s30 = load(c, c3);
    FloatVector s31 = load(c, c3 + LANES);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      FloatVector y0 = load(b, y);
      FloatVector y1 = load(b, y + LANES);
      FloatVector t = FloatVector.broadcast(SPECIES, a[x]);
      s00 = t.fma(y0, s00);
      s01 = t.fma(y1, s01);
      t = FloatVector.broadcast(SPECIES, a[x + aRow]);
      s10 = t.fma(y0, s10);
      s11 = t.fma(y1, s11);
      t = FloatVector.broadcast(SPECIES, a[x + 2 * aRow]);
      s20 = t.fma(y0, s20);
      s21 = t.fma(y1, s21);
      t = FloatVector.broadcast(SPECIES, a[x + 3 * aRow]);
      s30 = t.fma(y0, s30);
      s31 = t.fma(y1, s31);
      x += aTerm;
      y += width;
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
      int depth, float[] a, int a0, int aRow, int aTerm, float[] b, int b0, int width, float[] c, int c0) {
    FloatVector s0 = load(c, c0);
    FloatVector s1 = load(c, c0 + width);
    FloatVector s2 = load(c, c0 + 2 * width);
    FloatVector s3 = load(c, c0 + 3 * width);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      FloatVector y0 = load(b, y);
      s0 = FloatVector.broadcast(SPECIES, a[x]).fma(y0, s0);
      s1 = FloatVector.broadcast(SPECIES, a[x + aRow]).fma(y0, s1);
      s2 = FloatVector.broadcast(SPECIES, a[x + 2 * aRow]).fma(y0, s2);
      s3 = FloatVector.broadcast(SPECIES, a[x + 3 * aRow]).fma(y0, s3);
      x += aTerm;
      y += width;
    }
    s0.intoArray(c, c0);
    s1.intoArray(c, c0 + width);
    s2.intoArray(c, c0 + 2 * width);
    s3.intoArray(c, c0 + 3 * width);
  }

  private static void oneByOne(
      int depth, float[] a, int a0, int aTerm, float[] b, int b0, int width, float[] c, int c0) {
    FloatVector s = load(c, c0);
    int x = a0;
    int y = b0;
    for (int k = 0; k < depth; k++) {
      s = FloatVector.broadcast(SPECIES, a[x]).fma(load(b, y), s);
      x += aTerm;
      y += width;
    }
    s.intoArray(c, c0);
  }

  private static FloatVector load(float[] from, int at) {
    return FloatVector.fromArray(SPECIES, from, at);
  }
}
