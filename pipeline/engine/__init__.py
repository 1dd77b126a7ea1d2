"""The step engine: many texts at once, one character a step, compiled; each text's arithmetic has
an order of its own.

    opening (a model's files) -> weights (laid out) -> engine -> lanes (texts in the making)
    request (one text)                                             |
                                                         kernels, step, arithmetic, tiles (compiled)

    compiling (the cache of compiled code)   cuda (the same on a GPU)   precision (int8 or fp32)
    coding, range_coder (a text as what the engine's probabilities leave of it, and back)

It lies below registry and training: previews, registration, MLflow's model, sampling and scoring
all use it.
"""
