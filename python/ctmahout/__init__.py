"""Denoise CT series with Apache Mahout's distributed stochastic SVD on Apache Spark."""
