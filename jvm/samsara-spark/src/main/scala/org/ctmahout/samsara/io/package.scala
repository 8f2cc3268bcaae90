package org.ctmahout.samsara

/** Matrices from files and from RDDs of rows, and the other way round. */
package object io
