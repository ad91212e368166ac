"""Random orders that are never stored: permutations, all of them alike."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddencodes.sampling.minibatches import shuffled


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_a_shuffle_is_a_permutation(n, seed):
    found = shuffled(jax.random.key(seed), jnp.arange(n), n)
    assert sorted(found.tolist()) == list(range(n))


def test_shuffles_are_uniform():
    n, keys = 9, 20_000
    found = jax.vmap(lambda k: shuffled(k, jnp.arange(n), n))(jax.random.split(jax.random.key(0), keys))
    counts = np.stack([np.bincount(found[:, i], minlength=n) for i in range(n)])
    # Of two places the pairs of entries as well, which is what makes minibatches independent.
    pairs = np.bincount(np.asarray(found[:, 0] * n + found[:, 1]), minlength=n * n).reshape(n, n)
    off = ~np.eye(n, dtype=bool)
    for observed, expected in ((counts, keys / n), (pairs[off], keys / (n * (n - 1)))):
        chi2 = np.sum((observed - expected) ** 2) / expected
        freedom = observed.size - 1
        assert abs(chi2 - freedom) < 6 * np.sqrt(2 * freedom)
