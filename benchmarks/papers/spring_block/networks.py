"""Deep networks with batch normalization that learn digits, as the authors' script trains them, and what their layers do."""

# pyright: reportUnknownMemberType=false
# JAX's functions on arrays of no particular type.

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

import hiddencodes as hc
from hiddencodes.benchmarks.papers import Settings
from hiddencodes.benchmarks.papers.section import describe_training
from hiddencodes.diagnostics.separation import SeparationMeasure
from hiddencodes.drawing import array
from hiddencodes.sampling.batch_norm import gain_shapes, normalized
from hiddencodes.sampling.separation import separation_of

WIDTH, DEPTH, SIZE, N_TRAIN = 100, 7, 10, 2560
# PyTorch's weights are uniform with this variance times 1/fan-in.
_VARIANCE = 1.0 / 3.0


class Cell(NamedTuple):
    """One point of a phase diagram.

    Attributes:
        slope: Of the leaky ReLU: 0 is ReLU, 1 is linear.
        learning_rate: Adam's.
        data_noise: Share of labels that are random in a step, and size of noise on the inputs.
        dropout: Probability that a hidden unit is silent in a step.
    """

    slope: float
    learning_rate: float = 1e-3
    data_noise: float = 0.0
    dropout: float = 0.0


class Trained(NamedTuple):
    """Ensembles, one per cell.

    Attributes:
        separation: D_0 .. D_L on the clean training digits (cell, network, position).
        accuracy: On test digits, in percent (cell, network).
        description: How they were trained.
    """

    separation: Float[np.ndarray, "cell network position"]
    accuracy: Float[np.ndarray, "cell network"]
    description: dict[str, object]

    @property
    def curves(self) -> hc.LoadCurve:
        """Load curve of the mean separation over networks (cell, ...)."""
        return hc.load_curve(self.separation.mean(1))

    @property
    def area_error(self) -> Float[np.ndarray, " cell"]:
        """Standard error of the area of load curves over networks."""
        return standard_error(hc.load_curve(self.separation).area)

    @property
    def percent(self) -> Float[np.ndarray, " cell"]:
        """Mean accuracy."""
        return self.accuracy.mean(1)

    @property
    def percent_error(self) -> Float[np.ndarray, " cell"]:
        """Its standard error."""
        return standard_error(self.accuracy)


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the last axis."""
    return np.asarray(values.std(-1, ddof=1) / np.sqrt(values.shape[-1]))


class Digits(NamedTuple):
    """Training digits as a task, all others to test on."""

    task: hc.Task
    x_test: Float[np.ndarray, "pattern input"]
    labels_test: np.ndarray


@functools.cache
def digits(n_train: int = N_TRAIN) -> Digits:
    """Digits of 10 x 10 pixels in the proportions of the shipped set: some to train on, the others to test on."""
    counts = np.bincount(hc.load_images("mnist10k").labels)
    train = np.floor(n_train * counts / counts.sum()).astype(int)
    train[np.argsort(n_train * counts / counts.sum() - train)[len(train) - (n_train - train.sum()) :]] += 1
    task = hc.mnist(
        range(10), counts=train.tolist(), n_test=(counts - train).tolist(), size=SIZE, center=False, scale=False, seed=1
    )  # fmt: skip
    alone = hc.from_arrays(task.x_train, task.labels_train)
    return Digits(alone, task.x_test, task.labels_test)


def train(
    settings: Settings,
    label: str,
    cells: Sequence[Cell],
    *,
    networks: int,
    epochs: int,
    batch_size: int | None = None,
    n_train: int = N_TRAIN,
    stop_below: float = 1e-4,
) -> Trained:
    """Adam on the cross-entropy, all cells and networks in one compiled program.

    Args:
        settings: The section's.
        label: Name of the run.
        cells: What is trained.
        networks: Networks per cell.
        epochs: Passes over the training digits.
        batch_size: Digits of a step; None for all.
        n_train: Training digits.
        stop_below: Loss at which a network is trained no further.
    """
    data = digits(n_train)
    prior = hc.GaussianPrior(readout_variance=_VARIANCE, hidden_variance=_VARIANCE)
    posteriors = [
        hc.Posterior(mlp(cell.slope), data.task, prior=prior, likelihood="categorical", temperature=1.0)
        for cell in cells
    ]

    def column(name: str) -> list[float]:
        return [float(getattr(cell, name)) for cell in cells]

    run = settings.train(
        label, posteriors, networks=networks, epochs=epochs, snapshots=1, batch_size=batch_size, optimizer="adam",
        learning_rate=column("learning_rate"), label_noise=column("data_noise"), input_noise=column("data_noise"),
        dropout=column("dropout"), batch_norm="running", stop_below=stop_below, observables=(hc.separation, hc.input_separation, hc.train_accuracy),
    )  # fmt: skip
    separation = array(run, "posterior/separation")[:, :, -1]
    inputs = array(run, "posterior/input_separation")[:, :, -1]
    found = [
        accuracy(posterior.mlp, weights_of(run, i), data.x_test, data.labels_test)
        for i, posterior in enumerate(posteriors)
    ]
    return Trained(
        np.concatenate([inputs[..., None], separation], -1), np.stack(found), describe_training(run)
    )


def mlp(slope: float, *, depth: int = DEPTH, width: int = WIDTH, bias: bool = True) -> hc.MLP:
    """A network for ten digits of 10 x 10 pixels."""
    return hc.MLP(SIZE**2, 10, width, depth, hc.leaky_relu(slope), hc.standard, bias=bias)


def weights_of(run: xr.DataTree, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Weights of the networks of a cell at the end of training, with a leading axis."""
    return {name: {k: v[seed] for k, v in layer.items()} for name, layer in hc.final_weights(run).items()}


def accuracy(
    network: hc.MLP, weights: Any, x: np.ndarray, labels: np.ndarray
) -> Float[np.ndarray, " network"]:
    """Share of right labels of every network, in percent."""
    right = np.argmax(hc.network_outputs(network, weights, x), axis=-1) == labels
    return 100.0 * right.mean(-1)


def separations(
    network: hc.MLP,
    weights: Any,
    x: ArrayLike,
    labels: np.ndarray,
    measure: SeparationMeasure = "trace",
) -> Float[np.ndarray, "network layer"]:
    """D of every hidden layer of networks, in double precision; weights have a leading axis."""
    with jax.enable_x64(True):
        inputs = jnp.asarray(np.asarray(x, float))

        def layers(w: Any) -> Any:
            return jnp.stack(network.apply(w, inputs).postactivations)

        def own(array: ArrayLike, i: int) -> Array:
            return jnp.asarray(np.asarray(array, float)[i])

        compiled: Any = jax.jit(layers)
        found: list[np.ndarray] = []
        for i in range(np.shape(weights["readout"]["kernel"])[0]):
            one = {name: {k: own(v, i) for k, v in layer.items()} for name, layer in weights.items()}
            found.append(hc.feature_separation(np.asarray(compiled(one)), labels, measure))
    return np.stack(found)


def prior_separations(
    network: hc.MLP, keys: Any, x: ArrayLike, labels: np.ndarray, *, batch_norm: bool = False
) -> Float[np.ndarray, "network layer"]:
    """D of every hidden layer of networks drawn from the prior, one per key; with batch normalization, over these patterns."""
    inputs = jnp.asarray(np.asarray(x, np.float32))
    members = np.asarray(labels)[:, None] == np.unique(labels)[None, :]
    averages = jnp.asarray(np.asarray(members / members.sum(0), np.float32))

    def one(key: Any) -> Array:
        params = network.init(key)
        if batch_norm:
            # Gains of 1 and biases of 0, as training begins.
            ones = {
                name: {kind: jnp.full(of.shape, float(kind.endswith("gain"))) for kind, of in leaves.items()}
                for name, leaves in gain_shapes(network, float).items()
            }
            hidden = {
                name: {**params[name], "bias": 0 * params[name]["bias"], **own} for name, own in ones.items()
            }
            params = normalized(network, params | hidden, inputs).plain
        layers = network.apply(params, inputs).postactivations
        return jnp.stack([separation_of(h, averages) for h in layers])

    def every(keys: Any) -> Any:
        return jax.lax.map(one, keys)  # pyright: ignore[reportUnknownVariableType]

    compiled: Any = jax.jit(every)
    return np.asarray(compiled(keys), float)
