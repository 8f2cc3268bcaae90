package org.ctmahout.samsara
package incore

/** Values, or sums of their squares, are not finite. */
private[samsara] final class NotFinite(what: String) extends ArithmeticException(what)
