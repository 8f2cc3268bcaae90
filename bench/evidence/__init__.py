"""Evidence of image quality as medical physicists ask for it: ``make evidence`` writes docs/evidence.md.

`scans` simulates one object scanned many times. `observers`, `spectra` and `insertion.score` are the estimators, each
tested against a case whose answer is known (tests/unit/test_evidence.py). `detectability`, `insertion`,
`noise_and_transfer` and `repeats` are the parts; `report` writes the page.
"""
