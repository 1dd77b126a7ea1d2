"""A look inside a model: what its units do on a text, and which of them mean something.

stepping (gates and states) → activations, gates (a text, by any number of workers)
labels/ (what there is to track) → shifts (chance), baselines (n-grams, an untrained network),
effects (size, interval) → finder, findings → named (the post's cells), ablation (is it used?)
→ cells
"""
