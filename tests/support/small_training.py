"""A network and a task that are small enough to train in a moment."""

import jax
import jax.numpy as jnp
import numpy as np

import hiddencodes as hc

TASK = hc.xor_conditions(1.0, 12, noise=0.5).sample(40)
TRAIN_PREDICTIONS = hc.Observable("train_predictions", ("pattern", "output"), lambda c: c.activations.output)
QUIET = {"verbose": False, "precision": "float64"}


def posterior(activation=hc.tanh, task=TASK, likelihood="bernoulli", parameterization=hc.standard, **options):
    sizes = {"width": 7, "depth": 1} | {k: options.pop(k) for k in ("width", "depth") if k in options}
    mlp = hc.MLP(
        12,
        1,
        activation=activation,
        parameterization=parameterization,
        **sizes,
        bias=options.pop("bias", False),
    )
    return hc.Posterior(mlp, task, likelihood=likelihood, **({"temperature": 1.0} | options))


def weights_of(run, seed=0, chain=0):
    found = hc.final_weights(run)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[seed, chain]), found)


def random_start(p, seeds=1, networks=1):
    draw = jax.vmap(jax.vmap(p.sample_prior))
    return jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(5), (seeds, networks))))
