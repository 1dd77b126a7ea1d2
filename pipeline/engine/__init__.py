"""The step engine: many texts at once, one character a step, compiled; each text's arithmetic has
an order of its own.

    request (one text) -> engine (open a model) -> lanes (texts in the making) -> kernels, tiles (compiled steps)
                          weights (a model laid out)   cuda (the same on a GPU)   precision (int8 against fp32)

It lies below registry and training: previews, registration, MLflow's model, sampling and scoring
all use it.
"""
