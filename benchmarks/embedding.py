"""How fast texts are embedded: ``python -m benchmarks.embedding``.

Rows per second of the bundled sentence encoder on made-up texts, each one different, and of the
same rows asked for again, which come from memory.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from tabular_automl.extend import Budget
from text_ext.encoders import BUNDLED, load_encoder

TEXT = """
the a this that film story actor plot scene music end start is was seems feels looks sounds
good bad long short slow quick bright dark new old never always hardly really quite too and but
because though
while about with without for from into after before nobody everybody
"""


def made_up(n_texts: int, seed: int = 0) -> list[str]:
    """Return different texts of 5 to 35 words."""
    rng = np.random.default_rng(seed)
    words = TEXT.split()
    lengths = rng.integers(5, 36, n_texts)
    return [
        f"{number} {' '.join(rng.choice(words, length))}" for number, length in enumerate(lengths)
    ]


def main() -> None:
    """Print rows per second, first time and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    values = parser.parse_args()
    encoder = load_encoder(BUNDLED, max_tokens=128)
    texts = made_up(values.rows)
    for name in ("first time", "from memory"):
        start = time.monotonic()
        encoder.embed(texts, Budget.unlimited(), values.threads)
        seconds = time.monotonic() - start
        print(
            f"{name}: {values.rows / seconds:,.0f} rows/s ({seconds:.2f} s, {values.rows:,} rows)"
        )


if __name__ == "__main__":
    main()
