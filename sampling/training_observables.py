"""What a snapshot of a network in training is."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hiddencodes.sampling.observables import Context, Observable, train_loss

# More test patterns are no conditions.
_MOST_CONDITIONS = 256


def _on_test(c: Context) -> tuple[Array, ...]:
    return c.mlp.apply(c.params, jnp.asarray(c.data.x_test)).postactivations


def _condition_kernel(c: Context) -> Float[Array, "layer condition condition_2"]:
    return jnp.stack([h @ h.T / c.mlp.width for h in _on_test(c)])


def _condition_activations(c: Context) -> Float[Array, "layer condition unit"]:
    return jnp.stack(_on_test(c))


def _accuracy(c: Context) -> Float[Array, ""]:
    output = c.activations.output
    if c.likelihood.name == "categorical":
        right = jnp.argmax(output, axis=1) == jnp.asarray(c.data.labels_train)
    else:
        y = jnp.asarray(c.data.y_train)
        # Halfway between an output's two targets; the logistic loss has its boundary at zero.
        middle = (
            jnp.zeros_like(y[:1])
            if c.likelihood.name == "bernoulli"
            else 0.5 * (y.max(0) + y.min(0))[None, :]
        )
        right = (output > middle) == (y > middle)
    return jnp.mean(right.astype(output.dtype))


condition_kernel = Observable("condition_kernel", ("layer", "condition", "condition_2"), _condition_kernel)
condition_activations = Observable(
    "condition_activations", ("layer", "condition", "unit"), _condition_activations, invariant=False
)
train_accuracy = Observable("train_accuracy", (), _accuracy)


def training_observables(n_test: int) -> tuple[Observable, ...]:
    """The loss, the accuracy, and the kernel of every hidden layer on the test patterns.

    - ``train_loss``: the likelihood's loss, summed over the training patterns;
    - ``train_accuracy``: share of right labels, or of outputs on the right side between an output's smallest and largest target;
    - ``condition_kernel`` (layer, condition, condition_2): ``N^-1 sum_i phi(z_i(mu)) phi(z_i(nu))`` of the test patterns, which are the
      noise-free conditions of a `hiddencodes.tasks.ConditionTask`.

    Not among them is `condition_activations` (layer, condition, unit), the responses themselves.

    Args:
        n_test: Number of test patterns; of more than 256 the kernel is not stored.

    Example:
        >>> [o.name for o in training_observables(4)]
        ['train_loss', 'train_accuracy', 'condition_kernel']
    """
    return (train_loss, train_accuracy, *((condition_kernel,) if 0 < n_test <= _MOST_CONDITIONS else ()))
