"""Tasks labelled by a teacher: a network of the prior and the data it gives are one exact draw of their joint law.

Of weights drawn from the prior and data drawn from the likelihood at these weights, the weights are an exact draw of the
posterior given the data. Nothing else is known of the posterior, and it is enough to test samplers by: ranks of the teacher
among posterior draws are uniform (simulation-based calibration, arXiv 1804.06788), and a chain that starts at the teacher
starts in equilibrium.
"""

import json
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.mlp import MLP, Params
from hiddencodes.models.posterior import Posterior
from hiddencodes.models.prior import sample_prior
from hiddencodes.tasks import Task, class_targets

# How often weights and labels are drawn until every class has a training pattern.
_ATTEMPTS = 1000


class TeacherTask(NamedTuple):
    """What `teacher_task` returns.

    Attributes:
        posterior: The posterior given what the teacher says.
        weights: The teacher's weights: an exact draw of that posterior.
    """

    posterior: Posterior
    weights: Params


def teacher_task(posterior: Posterior, key: PRNGKeyArray) -> TeacherTask:
    """Draw a network from the prior and let it label the inputs: a posterior of which one exact draw is known.

    The pair is drawn from the joint law of weights and data,

        theta ~ p(theta),   y_mu = f_theta(x_mu) + sqrt(T) xi_mu,   xi ~ N(0, 1)       (Gaussian)
        theta ~ p(theta),   c_mu ~ softmax(f_theta(x_mu))                              (categorical),

    so that theta given the data is a draw of the posterior (Geweke 2004; arXiv 1804.06788). Test targets are drawn likewise.
    Under the Gaussian likelihood patterns keep their labels, which only group them; under the categorical one the labels are
    the data. There, a pair that leaves a class without a training pattern is drawn anew, weights included: what is chosen
    by looking at the data alone does not change the law of the weights given the data.

    Args:
        posterior: Network, prior, likelihood, temperature and inputs; its targets are not used. Reduce the result, not this.
        key: Random key.

    Returns:
        `TeacherTask`: the posterior on the new task, with the same prior variances, and the teacher's weights in JAX's default
        floating-point type. The targets are those of exactly these weights, computed in double precision.

    Raises:
        ValueError: If the likelihood is neither Gaussian nor categorical; if it is categorical and T is not 1, because
            ``softmax(f)^(1/T)`` is not the law of any labels; or if classes stay empty.

    Example:
        >>> from hiddencodes.models import MLP, mean_field, sigmoidal
        >>> from hiddencodes.tasks import orthogonal_classes
        >>> task = orthogonal_classes(n_train=8)
        >>> posterior = Posterior(MLP(8, 3, 10, 1, sigmoidal, mean_field), task, n_temperature=0.1)
        >>> taught, weights = teacher_task(posterior, jax.random.key(0))
        >>> f = taught.mlp.apply(weights, jnp.asarray(task.x_train)).output
        >>> noise = np.sum((taught.task.y_train - np.asarray(f)) ** 2) / taught.temperature
        >>> bool(abs(noise - 24) < 5 * (2 * 24) ** 0.5)  # chi^2 of 8 x 3 targets
        True
    """
    likelihood = posterior.likelihood
    assert isinstance(likelihood, Likelihood)
    if likelihood.name not in ("gaussian", "categorical"):
        raise ValueError(
            f"posterior: a teacher needs the Gaussian or the categorical likelihood, got {likelihood.name!r}"
        )
    if likelihood.name == "gaussian":
        weights, outputs, noise_key = _teacher(posterior, key)
        assert posterior.temperature is not None
        with jax.enable_x64(True):
            noise = np.asarray(jax.random.normal(noise_key, outputs.shape, jnp.float64))
        targets = outputs + posterior.temperature**0.5 * noise
        task = _labelled(posterior, key, targets, None)
    else:
        if posterior.temperature != 1.0:
            raise ValueError(
                f"temperature: labels have the law of the categorical likelihood at T = 1 only, got {posterior.temperature!r}"
            )
        weights, labels = _categorical(posterior, key)
        task = _labelled(posterior, key, class_targets(labels, posterior.task.n_classes), labels)
    return TeacherTask(replace(posterior, task=task, n_temperature=None), weights)


# Compiled: calibration asks for hundreds of teachers of one network.
_draw = jax.jit(sample_prior, static_argnames="mlp")


@partial(jax.jit, static_argnames="mlp")
def _outputs(mlp: MLP, weights: Params, x: Float[Array, "pattern input"]) -> Float[Array, "pattern output"]:
    return mlp.apply(weights, x).output


def _teacher(
    posterior: Posterior, key: PRNGKeyArray
) -> tuple[Params, Float[np.ndarray, "all_patterns output"], PRNGKeyArray]:
    """A network of the prior, its outputs on all inputs, training ones first, and a key for the noise."""
    weights_key, noise_key = jax.random.split(key)
    mlp, task = posterior.mlp, posterior.task
    weights = _draw(mlp, posterior.prior.standard_deviations(mlp, task.n_train), weights_key)
    x = np.concatenate([task.x_train, task.x_test])
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        double = jax.tree.map(lambda w: jnp.asarray(np.asarray(w), jnp.float64), weights)
        outputs = _outputs(mlp, double, jnp.asarray(x))
    return weights, np.asarray(outputs), noise_key


def _categorical(posterior: Posterior, key: PRNGKeyArray) -> tuple[Params, Int[np.ndarray, " all_patterns"]]:
    n_train, n_classes = posterior.task.n_train, posterior.task.n_classes
    for attempt in range(_ATTEMPTS):
        weights, outputs, label_key = _teacher(posterior, jax.random.fold_in(key, attempt))
        with jax.enable_x64(True):
            labels = np.asarray(jax.random.categorical(label_key, jnp.asarray(outputs), axis=-1))
        if len(np.unique(labels[:n_train])) == n_classes:
            return weights, labels
    raise ValueError(
        f"posterior: no teacher of {_ATTEMPTS} gave all {n_classes} classes to {n_train} training patterns"
    )


def _labelled(
    posterior: Posterior,
    key: PRNGKeyArray,
    targets: Float[np.ndarray, "all_patterns output"],
    labels: Int[np.ndarray, " all_patterns"] | None,
) -> Task:
    """The posterior's inputs with other targets."""
    task, mlp, n_train = posterior.task, posterior.mlp, posterior.task.n_train
    likelihood = posterior.likelihood
    assert isinstance(likelihood, Likelihood)
    provenance = {
        "generator": "teacher_task",
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "teacher": {
            "width": mlp.width,
            "depth": mlp.depth,
            "activation": mlp.activation.name,
            "parameterization": mlp.parameterization.name,
            "bias": mlp.bias,
            "readout_variance": posterior.readout_variance,
            "hidden_variance": posterior.prior.hidden_variance,
            "bias_variance": posterior.prior.bias_variance,
            "likelihood": likelihood.name,
            "temperature": posterior.temperature,
        },
        "inputs": json.loads(task.provenance),
    }
    if labels is not None:
        task = replace(task, labels_train=labels[:n_train], labels_test=labels[n_train:])
    return replace(
        task, y_train=targets[:n_train], y_test=targets[n_train:], provenance=json.dumps(provenance)
    )
