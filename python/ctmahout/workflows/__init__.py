"""What a user calls: one module for each verb of the command line, from a location to a location.

============  ==========================================================================================
module        verbs and functions
============  ==========================================================================================
denoise       ``denoise``, and its steps ``prepare``, ``refine``, ``reconstruct``
dssvd         ``dssvd``: the decomposition of a matrix directory, or of an array
learn         ``learn``: a model of many series
study         ``denoise --all-series``
module        ``module``: the same between the folders of an orchestrator
inspect       ``inspect``: what a folder holds, and what denoising it will cost
compare       ``compare``
convert       ``convert``
fetch         ``fetch``
phantom       ``phantom``
doctor        ``doctor``
outputs       no verb: writes the series, the report and run.json of a run
results       no verb: the table of what a study gave
outcome       no verb: what `denoise` returns, and run.json
============  ==========================================================================================
"""
