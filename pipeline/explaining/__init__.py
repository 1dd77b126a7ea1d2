"""A look inside a model, and a model in a page.

stepping (gates and states) → activations, gates (a text, by any number of workers)
labels/ (what there is to track) → shifts (chance), baselines (n-grams, an untrained network),
effects (size, interval) → finder, findings → named (the post's cells), ablation (is it used?)
→ cells
page_text, page → the page of a text; play → a page that writes; page_evolution → a run's page

Pages are single HTML files: no network, no server. script/ holds what runs in them.
"""
