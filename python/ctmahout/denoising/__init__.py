"""From a noisy volume in HU to a denoised one: the noise, the methods ``patches`` and ``slices``, the strengths.

Named ``denoising`` because `ctmahout.denoise` is the function: a folder of that name would replace it when imported.
"""
