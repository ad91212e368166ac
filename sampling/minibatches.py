"""Minibatches without a stored permutation: any entry of a random order can be asked for by itself."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

# After r rounds an entry has not moved with probability 2^-r, and else is somewhere uniformly.
_ROUNDS = 16


def shuffled(key: PRNGKeyArray, index: Int[Array, " entry"], n: int) -> Int[Array, " entry"]:
    """Entries of a pseudo-random permutation of ``0 .. n - 1``.

    Sorting random numbers would cost more than a training step of a small network, and a stored permutation would have to be
    carried by every network. "Swap or not" (Hoang, Morris and Rogaway, CRYPTO 2012, doi 10.1007/978-3-642-32009-5_1): in every
    round x and ``K - x mod n`` change places if a random bit that both see alike says so.

    Args:
        key: Random key of the permutation.
        index: Where to look, in 0..n-1.
        n: Number of entries.

    Returns:
        The entries; over all indices every number occurs once.

    Example:
        >>> sorted(shuffled(jax.random.key(0), jnp.arange(5), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    place_key, bit_key = jax.random.split(key)
    partners = jax.random.randint(place_key, (_ROUNDS,), 0, n, jnp.int32)
    salts = jax.random.bits(bit_key, (_ROUNDS,), jnp.uint32)

    def one_round(x: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
        partner, salt = given
        other = (partner - x) % jnp.int32(n)
        bit = _hash(jnp.maximum(x, other).astype(jnp.uint32) ^ salt) >> 31
        return jnp.where(bit == 1, other, x), None

    return jax.lax.scan(one_round, index.astype(jnp.int32), (partners, salts))[0]


def _hash(x: Array) -> Array:
    """Bits that depend on all bits of x: the finalizer of MurmurHash3."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)
