"""How corpora-3 was made: by the first code that writes manifests of format 3. Not a test.

    PYTHONPATH=. python tests/golden/make_corpora.py

Builds the corpora of settings.json from source/ again, under corpora-3. It writes the same bytes
for as long as the format is 3; what is there is not to be made again by later code. See README.md.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig

HERE = Path(__file__).resolve().parent
TARGET = HERE / "corpora-3"


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    os.chdir(HERE)  # so that the corpora's source is 'source', wherever this folder is
    settings = json.loads((HERE / "settings.json").read_text())["corpora"]
    for name, own in settings.items():
        for path in Path("source").rglob("*"):
            os.utime(path)  # so new that sources.json gets no state, which would vary
        build_corpus(CorpusConfig(name=name, source="source", **own), "corpora-3")
    shutil.rmtree(TARGET / "corpora" / ".staging")


if __name__ == "__main__":
    main()
