"""Method ``slices``: one matrix, pixels x slices, in HU; its leading components are kept.

As in the pipeline of 2020: for repeated acquisitions, and as a reference.
"""
