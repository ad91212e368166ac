"""Pair rotation leaves the posterior as it is: exact draws stay exact, chains agree with quadrature and with plain HMC."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax import elliptical_slice
from statistics_of_chains import Z, assert_mean, assert_means_agree
from two_units import SCALE, WEIGHT, N, P, Y, by_quadrature, functions

import hiddencodes as hc
from hiddencodes.models.likelihood import Likelihood
from hiddencodes.models.readout_regression import draw_readout, readout_evidence, readout_weight
from hiddencodes.sampling.pair_rotation import _angles, _log_g, circle, rotate_pairs
from hiddencodes.sampling.reduced_target import reduced_target
from hiddencodes.sampling.resolvent import change, resolvent, updated
from hiddencodes.sampling.target import NetworkTarget


def turn_by(angle):
    return jnp.array([[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]])


@pytest.mark.parametrize(("patterns", "units"), [(12, 7), (4, 9)])
@pytest.mark.parametrize("activation", [hc.relu, hc.leaky_relu(0.3)], ids=str)
def test_updates_are_what_is_computed_from_scratch(rng, activation, patterns, units):
    weight, temperature = jnp.asarray(0.01), jnp.asarray(0.1)
    ratio = weight / temperature
    z = jnp.asarray(rng.standard_normal((units, patterns)) * rng.choice([1.0, 5.0], (units, 1)))
    y = jnp.asarray(rng.standard_normal((patterns, 3)))
    state = start = resolvent(activation(z), y, ratio)
    # Rounding in a system of this condition, solved for a quantity of this size.
    phi = activation(z)
    condition = float(np.linalg.cond(np.eye(patterns) + ratio * phi.T @ phi))
    rounding = np.finfo(float).eps * condition**2
    size = float(jnp.sum(y**2) / temperature)
    assert rounding * size < 1e-4
    for _ in range(8):
        pair, turn = rng.choice(units, 2, replace=False), turn_by(rng.uniform(0.0, 2.0 * np.pi))
        new = z.at[pair].set(turn @ z[pair])
        old_phi, new_phi = activation(z[pair]), activation(new[pair])
        made = change(
            old_phi, new_phi, old_phi @ state.inverse, new_phi @ state.inverse,
            (old_phi @ state.solved, new_phi @ state.solved), turn.T, (ratio, temperature),
        )  # fmt: skip
        gain = readout_evidence(activation(new).T, y, weight, temperature)
        gain = gain - readout_evidence(activation(z).T, y, weight, temperature)
        np.testing.assert_allclose(made.log_likelihood, gain, atol=rounding * size)
        same = updated(state, made, ratio, jnp.asarray(False))
        np.testing.assert_array_equal(same.inverse, state.inverse)
        state, z = updated(state, made, ratio, jnp.asarray(True)), new
    again = resolvent(activation(z), y, ratio)
    np.testing.assert_allclose(state.inverse, again.inverse, atol=rounding)
    np.testing.assert_allclose(state.solved, again.solved, atol=rounding * float(jnp.max(jnp.abs(y))))
    assert np.max(np.abs(again.inverse - start.inverse)) > 1e-3


@pytest.mark.parametrize("width", [0.01, 0.3])
def test_proposed_angles_follow_their_density(width):
    edges = np.array(
        [-np.pi / 2 - 3, -1.8, -1.6, -np.pi / 2, -1.5, -0.8, -0.02, 0.0, 0.02, 0.3, 1.5 * np.pi - 3]
    )
    # Midpoints: the density jumps at the edges of the quadrant, and is smooth on the scale of the grid elsewhere.
    inside = (np.arange(20_000) + 0.5) / 20_000
    psi = edges[:-1, None] + np.diff(edges)[:, None] * inside
    mass = np.exp(_log_g(jnp.asarray(psi), jnp.asarray(width))).mean(axis=1) * np.diff(edges)
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-6)
    n = 400_000
    psi = np.asarray(_angles(jax.random.uniform(jax.random.key(0), (3, n)), jnp.asarray(width)))
    found = np.histogram((psi - edges[0]) % (2 * np.pi) + edges[0], edges)[0] / n
    assert np.max(np.abs(found - mass) / np.sqrt(mass * (1 - mass) / n)) < Z


def test_axes_of_a_pair_are_the_same_all_around_its_circle(rng):
    for _ in range(50):
        pair = jnp.asarray(rng.standard_normal((2, 5)) * rng.choice([1.0, 6.0], (2, 1)))
        angle = rng.uniform(0.0, 2.0 * np.pi)
        before, after = circle(pair, jnp.asarray(1.3)), circle(turn_by(angle) @ pair, jnp.asarray(1.3))
        np.testing.assert_allclose(after.width, before.width, rtol=1e-12)
        np.testing.assert_allclose(
            np.exp(1j * float(after.angle - before.angle)), np.exp(1j * angle), atol=1e-9
        )


def test_two_active_units_of_one_code_are_merged_at_zero():
    code = jnp.array([9.0, 9.0, -0.5, -0.7])
    around = circle(jnp.stack([code, 0.5 * code]), jnp.asarray(1.0))
    u, v = turn_by(-around.angle) @ jnp.stack([code, 0.5 * code])
    np.testing.assert_allclose(u, np.sqrt(1.25) * code)
    np.testing.assert_allclose(v, 0.0, atol=1e-12)
    assert -np.pi / 2 < around.angle < 0.0


def chains(activation, temperature, correlation, sweeps=1000):
    """Elliptical slice sampling of two units, with a sweep of one rotation behind every step."""
    covariance = jnp.kron(jnp.eye(N), jnp.array([[1.0, correlation], [correlation, 1.0]]))
    y, weight = jnp.asarray(Y), jnp.asarray(WEIGHT)
    temperature = jnp.asarray(temperature)
    units = lambda x: SCALE * x.reshape(N, P)
    likelihood = lambda x: readout_evidence(activation(units(x)).T, y, weight, temperature)
    kernel = elliptical_slice(likelihood, mean=jnp.zeros(N * P), cov=covariance)
    trace = (jnp.asarray(float(P) * SCALE**2), jnp.asarray(2.0 * SCALE**4 * (1.0 + correlation**2)))

    def step(x, key):
        slice_key, key = jax.random.split(key)
        x = kernel.step(slice_key, kernel.init(x))[0].position
        z, _, info = rotate_pairs(
            key, units(x), units(x), y, jnp.eye(P), trace, weight, temperature, activation, 1, 3
        )
        return z.ravel() / SCALE, info

    def step_all(x, key):
        x, info = jax.vmap(step)(x, jax.random.split(key, len(x)))
        return x, (x, info.accepted.sum())

    start = jax.random.normal(jax.random.key(0), (16, N * P))
    _, (xs, accepted) = jax.jit(
        lambda x: jax.lax.scan(step_all, x, jax.random.split(jax.random.key(1), sweeps))
    )(start)
    assert np.sum(np.asarray(accepted)) > 0.1 * 16 * sweeps
    xs = np.swapaxes(np.asarray(xs)[sweeps // 10 :], 0, 1).reshape(16, -1, N, P)
    return functions(xs, np.asarray(activation(jnp.asarray(SCALE * xs))))


@pytest.mark.parametrize(
    ("activation", "correlation", "temperature"),
    [(hc.relu, 0.4, 0.05), (hc.leaky_relu(0.2), -0.3, 0.1)],
    ids=["relu", "leaky_relu"],
)
def test_two_units_against_quadrature(activation, correlation, temperature):
    truth = by_quadrature(activation, temperature, correlation)
    assert_mean(chains(activation, temperature, correlation), truth)


@pytest.mark.parametrize("correlation", [0.4, -0.3])
def test_quadrature_of_correlated_patterns_at_high_temperature_is_the_prior(correlation):
    means = by_quadrature(hc.relu, 1e8, correlation)
    np.testing.assert_allclose(means[[3, 4, 7]], [N, N, N * correlation], rtol=1e-5)


def posterior_of(activation, x_train, width=4):
    patterns = len(x_train)
    labels = np.arange(patterns) % 2
    targets = np.where(labels[:, None] == np.arange(2), 1.0, -0.3)
    task = hc.Task(
        x_train, targets, labels, np.zeros((0, x_train.shape[1])), np.zeros((0, 2)), np.zeros(0, int), ("a", "b"), "{}"
    )  # fmt: skip
    mlp = hc.MLP(task.n_inputs, 2, width, 1, activation, hc.ntk)
    return hc.Posterior(mlp, task, temperature=1.0)


def exact_draws(posterior, n):
    """Whitened weights of the hidden layer by rejection, the readout from its law given them."""
    mlp, data = posterior.mlp, posterior.data()
    x = jnp.asarray(posterior.task.x_train) / np.sqrt(mlp.n_inputs)
    y, weight = jnp.asarray(posterior.task.y_train), readout_weight(mlp, data.prior_std["readout"]["kernel"])
    temperature = jnp.asarray(posterior.temperature)

    def one(key):
        white = jax.random.normal(key, (mlp.n_inputs, mlp.width))
        # The evidence of `readout_evidence` is at most 0.
        return white, readout_evidence(mlp.activation(x @ white), y, weight, temperature)

    white, log = jax.vmap(one)(jax.random.split(jax.random.key(3), n))
    kept = np.log(np.random.default_rng(4).uniform(size=n)) < np.asarray(log)
    white = white[kept]
    draw = lambda key, white: draw_readout(key, mlp.activation(x @ white), y, weight, temperature)
    return white, jax.vmap(draw)(jax.random.split(jax.random.key(5), len(white)), white)


COORDINATES = {
    "weights": None,
    "projected": hc.project_inputs,
    "white, integrated": lambda p: hc.integrate_readout(hc.whiten_inputs(p)),
}
INPUTS = {
    "correlated": np.array([[1.0, 0.2, -0.4], [0.6, 1.1, 0.0], [0.3, -0.2, 1.0]]),
    "dependent": np.array([[1.0, 0.2], [0.6, 1.1], [-0.8, 0.5], [0.2, -1.2]]),
    "orthogonal": np.sqrt(3.0) * np.eye(3),
}


@pytest.mark.parametrize(
    ("activation", "inputs", "coordinates", "candidates"),
    [
        (hc.relu, "correlated", "weights", 1),
        (hc.relu, "orthogonal", "white, integrated", 4),
        pytest.param(hc.leaky_relu(0.3), "dependent", "projected", 2, marks=pytest.mark.slow),
    ],
)
def test_exact_draws_stay_exact(activation, inputs, coordinates, candidates):
    posterior = posterior_of(activation, INPUTS[inputs])
    white, readout = exact_draws(posterior, 400_000)
    assert len(white) > 10_000
    reduce = COORDINATES[coordinates]
    move = hc.pair_rotation(pairs=3, candidates=candidates)
    if reduce is None:
        data, names = posterior.data(), ("hidden_1", "readout")
        target = NetworkTarget(posterior.mlp, posterior.likelihood, ())
        kernel = white
    else:
        reduced = reduce(posterior)
        data, target = reduced.posterior.data(), reduced_target([reduced], ())
        names = ("hidden_1",) if reduced.readout_integrated else ("hidden_1", "readout")
        basis = jnp.asarray(reduced.basis[:, : reduced.n_along])
        kernel = jnp.einsum("ij,nik->njk", basis, white)
    q = jnp.concatenate([leaf.reshape(len(white), -1) for leaf in (kernel, readout)[: len(names)]], axis=1)
    assert isinstance(posterior.likelihood, Likelihood)
    assert q.shape[1] == target.dimension
    data = jax.tree.map(jnp.asarray, data)
    beta = jnp.asarray(1.0 / posterior.temperature)

    def of(q):
        phi = target.hidden(q, data)[0]
        weights = q[: target.mlp.width * (q.size // target.mlp.width)]
        square = jnp.sum(phi**2, axis=0)
        kernel = phi @ phi.T
        first = weights[:kernel_size].reshape(-1, target.mlp.width)
        loss = target.log_likelihood(q, data, jnp.ones(()))
        return jnp.concatenate([
            kernel.ravel(), (kernel @ kernel).ravel(), first.ravel(), first[0] ** 2, first[-1] ** 3,
            jnp.stack([loss, loss**2, jnp.max(square), jnp.min(square), jnp.max(square) ** 2, jnp.sum(jnp.sqrt(square)),
                       jnp.sum(square > 4.0).astype(q.dtype), jnp.sum(jnp.prod(phi, axis=0)), jnp.max(phi), square[0], square[1] ** 2]),
        ])  # fmt: skip

    kernel_size = kernel[0].size
    sweep = lambda key, q: move.sweep(target, key, q, data, (), beta)
    after, info = jax.jit(jax.vmap(sweep))(jax.random.split(jax.random.key(6), len(q)), q)
    assert np.all(np.asarray(info.proposed).sum((1, 2)) == 3 * candidates)
    assert np.mean(np.asarray(info.accepted).sum((1, 2))) > 0.5
    change_of = np.asarray(jax.jit(jax.vmap(of))(after)) - np.asarray(jax.jit(jax.vmap(of))(q))
    error = change_of.std(axis=0) / np.sqrt(len(q))
    assert np.all(error > 0.0)
    worst = np.argmax(np.abs(change_of.mean(axis=0)) / error)
    assert np.abs(change_of.mean(axis=0)[worst]) < Z * error[worst], worst


def invariants(run):
    names = ("kernel_blocks", "readout_overlap", "train_loss", "test_predictions")
    found = {name: run["posterior"][name].values[0] for name in names}
    means = run["units"]["class_means"].values[0][:, :, 0]  # (chain, draw, class, unit)
    energy = np.sum(means**2, axis=2)
    return found | {"largest": energy.max(axis=-1), "spread": np.sqrt(energy).mean(axis=-1)}


REDUCE = {
    "weights": lambda p: p,
    "white": hc.whiten_inputs,
    "white, integrated": lambda p: hc.integrate_readout(hc.whiten_inputs(p)),
}


def compare(n_temperature, coordinates, draws):
    task = hc.orthogonal_classes(n_train=8, n_test=4, y_minus=-0.5)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 6, 1, hc.relu, hc.mean_field)
    posterior = hc.Posterior(mlp, task, n_temperature=n_temperature)
    options = {"chains": 16, "warmup": 300, "draws": draws, "verbose": False}
    plain = invariants(hc.sample(hc.whiten_inputs(posterior), thin=2, key=1, **options))
    for name in coordinates:
        run = hc.sample(REDUCE[name](posterior), moves=hc.pair_rotation(), moves_every=1, key=2, **options)
        moves = run["moves"]
        assert moves["codes"].values.tolist() == [[["0 outliers", "1 outlier", "2 outliers"]]]
        pairs = 3 * draws
        assert np.all(moves["proposed"].sum(["code", "code_2"]) == 8 * pairs)
        assert np.all(moves["accepted"].sum(["code", "code_2"]) > 0.05 * pairs)
        moved = invariants(run)
        for observable, values in plain.items():
            assert_means_agree(moved[observable], values)


@pytest.mark.slow
@pytest.mark.parametrize("n_temperature", [0.4, 0.05])
def test_runs_with_rotations_agree_with_plain_ones_in_all_coordinates(n_temperature):
    compare(n_temperature, REDUCE, 4000)


@pytest.mark.parametrize(
    ("settings", "likelihood", "message"),
    [
        ({"activation": hc.sigmoidal}, "gaussian", "positively homogeneous .*got sigmoidal"),
        ({"activation": hc.shifted_relu(0.5)}, "gaussian", "got shifted_relu"),
        ({"depth": 2}, "gaussian", "one hidden layer without biases, got depth 2, bias False"),
        ({"bias": True}, "gaussian", "one hidden layer without biases, got depth 1, bias True"),
        ({"width": 1}, "gaussian", "two units at least, got width 1"),
        ({}, "categorical", "Gaussian likelihood, got 'categorical'"),
    ],
)
def test_posteriors_that_the_move_is_not_made_for(small_settings, settings, likelihood, message):
    task = hc.orthogonal_classes(n_train=8, n_test=4)
    chosen = {"width": 6, "depth": 1, "activation": hc.relu, "parameterization": hc.mean_field} | settings
    mlp = hc.MLP(task.n_inputs, task.n_outputs, **chosen)
    posterior = hc.Posterior(mlp, task, likelihood=likelihood, n_temperature=0.1)
    with pytest.raises(ValueError, match=message):
        hc.sample(posterior, moves=hc.pair_rotation(), **small_settings)


@pytest.mark.parametrize("settings", [{"pairs": 0}, {"candidates": 0}])
def test_numbers_that_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1"):
        hc.pair_rotation(**settings)
