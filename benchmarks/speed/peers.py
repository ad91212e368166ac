"""Other packages' samplers as their documentation uses them, on one flat log-density: BlackJAX, NumPyro, TFP, MILE.

Every function compiles a sampler, warms it up and returns a `Peer`. Nothing here needs `hiddencodes`, so that

    OTHER_PYTHON benchmarks/speed/peers.py mile PROBLEM.npz RESULT.npz

runs MILE (package ``sklearn-contrib-bde``, module ``bde``) in an environment of its own: it pins a BlackJAX that nothing else here
runs with.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ceilings import Cost, clocked

Density = Callable[[jax.Array], jax.Array]


class Network(NamedTuple):
    """A network of one hidden layer and its data: what a density over whitened weights needs, as arrays."""

    x: np.ndarray
    y: np.ndarray
    width: int
    temperature: float
    hidden_factor: float
    readout_factor: float
    activation: str


class Drawn(NamedTuple):
    """Positions (chain, draw, dimension), and how many gradients each draw needed (chain, draw)."""

    positions: Any
    gradients: Any


class Warm(NamedTuple):
    """Where a sampler's warm-up ended, what it settled on, and its CPU seconds, compilation included."""

    start: Any
    tuning: Any
    cpu: float


class Peer(NamedTuple):
    """A sampler that is ready to draw all draws of a run, given an integer, the random seed.

    ``lock_step``: lanes wait for the longest trajectory of a draw. ``shorter``: few draws, where the slope is to take out a fixed cost.
    """

    draw: Callable[[int], Drawn]
    lock_step: bool
    cpu_before: float
    shorter: Callable[[int], Drawn] | None = None


def network_of(posterior: Any) -> Network:
    """The numbers of a posterior of one hidden layer without biases and with Gaussian likelihood."""
    mlp, task, std = posterior.mlp, posterior.task, posterior.data().prior_std
    assert (mlp.depth, mlp.bias, posterior.likelihood.name) == (1, False, "gaussian")
    hidden, readout = (
        float(mlp.parameterization.layer(layer.index, 1).multiplier(layer.fan_in, layer.fan_out))
        * float(std[layer.name]["kernel"])
        for layer in mlp.layers()
    )
    return Network(task.x_train, task.y_train, mlp.width, posterior.temperature, hidden, readout, mlp.activation.name)  # fmt: skip


def density_of_leaves(network: Network) -> Callable[[Any], jax.Array]:
    """The log-density over whitened weights (hidden, readout), with nothing that could be left out; single precision."""
    x, y = jnp.asarray(network.x, jnp.float32), jnp.asarray(network.y, jnp.float32)
    hidden, readout = np.float32(network.hidden_factor), np.float32(network.readout_factor)
    half_beta, half = np.float32(0.5 / network.temperature), np.float32(0.5)
    slope = np.float32(0.5 * np.sqrt(np.pi))

    def activation(z: jax.Array) -> jax.Array:
        return jax.nn.relu(z) if network.activation == "relu" else half + half * jax.lax.erf(slope * z)

    def density(weights: Any) -> jax.Array:
        output = readout * (activation(hidden * (x @ weights[0])) @ weights[1])
        prior = sum(jnp.vdot(leaf, leaf) for leaf in weights)
        return -half * prior - half_beta * jnp.sum((y - output) ** 2)

    return density


def density_of(network: Network) -> Density:
    """The same over one vector, as samplers want it."""
    of_leaves, n = density_of_leaves(network), network.x.shape[1] * network.width

    def density(q: jax.Array) -> jax.Array:
        return of_leaves((q[:n].reshape(-1, network.width), q[n:].reshape(network.width, -1)))

    return density


def gradients_of(gradients: Any, lock_step: bool) -> tuple[int, int]:
    """Useful and executed gradients of (chain, draw) counts; executed is a lower bound, see `Peer.lock_step`."""
    gradients = np.asarray(gradients, np.int64)
    executed = gradients.max(axis=0).sum() * len(gradients) if lock_step else gradients.sum()
    return int(gradients.sum()), int(executed)


def cost_of(peer: Peer, number: int) -> tuple[Drawn, Cost]:
    """One run of a peer and its cost."""
    drawn, cpu, wall = clocked(peer.draw, number)
    useful, executed = gradients_of(drawn.gradients, peer.lock_step)
    if peer.shorter is None:
        return drawn, Cost(cpu, wall, useful, executed)
    less, less_cpu, less_wall = clocked(peer.shorter, number)
    share = useful / (useful - gradients_of(less.gradients, peer.lock_step)[0])
    sloped = share * (cpu - less_cpu)
    return drawn, Cost(sloped, share * (wall - less_wall), useful, executed, cpu - sloped)


def _loop(
    one_step: Callable[[jax.Array, Any], Any], start: Any, chains: int, draws: int
) -> Callable[[int], Drawn]:
    """BlackJAX's inference loop for several chains: ``one_step(keys, states)`` in a scan, positions and counts kept."""

    def body(states: Any, key: jax.Array) -> tuple[Any, tuple[Any, Any]]:
        states, counts = one_step(jax.random.split(key, chains), states)
        return states, (states.position, counts)

    @jax.jit
    def run(key: jax.Array) -> Drawn:
        _, (positions, counts) = jax.lax.scan(body, start, jax.random.split(key, draws))
        return Drawn(jnp.swapaxes(positions, 0, 1), jnp.swapaxes(counts, 0, 1))

    return lambda number: run(jax.random.key(number))


def _compiled(draw: Callable[[int], Drawn], lock_step: bool, cpu_before: float = 0.0) -> Peer:
    return Peer(draw, lock_step, cpu_before + clocked(draw, 0)[1])


def blackjax_hmc(density: Density, q: jax.Array, step_size: float, steps: int, draws: int) -> Peer:
    """`blackjax.hmc`, its step vmapped over chains."""
    import blackjax

    hmc = blackjax.hmc(density, step_size, jnp.ones(q.shape[1]), num_integration_steps=steps)

    def one_step(keys: jax.Array, states: Any) -> tuple[Any, jax.Array]:
        return jax.vmap(hmc.step)(keys, states)[0], jnp.full(len(q), steps)

    return _compiled(_loop(one_step, jax.vmap(hmc.init)(q), len(q), draws), lock_step=False)


def one_step_size(density: Density, q: jax.Array, step_size: float) -> Warm:
    """No warm-up of `blackjax.nuts`: that step size and the unit metric for all chains."""
    import blackjax

    start = jax.vmap(lambda position: blackjax.nuts.init(position, density))(q)
    tuning = {"step_size": jnp.full(len(q), step_size), "inverse_mass_matrix": jnp.ones(q.shape)}
    return Warm(start, tuning, 0.0)


def window_adaptation(density: Density, q: jax.Array, warmup: int) -> Warm:
    """BlackJAX's window adaptation of every chain, as its guide to several chains has it."""
    import blackjax

    adaptation = blackjax.window_adaptation(blackjax.nuts, density)
    adapt = jax.jit(jax.vmap(lambda key, position: adaptation.run(key, position, warmup)[0]))
    (start, tuning), cpu, _ = clocked(adapt, jax.random.split(jax.random.key(1), len(q)), q)
    return Warm(start, tuning, cpu)


def blackjax_nuts(density: Density, warm: Warm, draws: int) -> Peer:
    """`blackjax.nuts`, its step vmapped over chains with their tuning."""
    import blackjax

    kernel = blackjax.nuts.build_kernel()

    def one_step(keys: jax.Array, states: Any) -> tuple[Any, jax.Array]:
        one = lambda key, state, tuning: kernel(key, state, density, **tuning)
        states, info = jax.vmap(one)(keys, states, warm.tuning)
        return states, info.num_integration_steps

    draw = _loop(one_step, warm.start, len(warm.start.position), draws)
    return _compiled(draw, lock_step=True, cpu_before=warm.cpu)


def blackjax_mclmc(density: Density, q: jax.Array, draws: int, warmup: int) -> Peer:
    """`blackjax.mclmc`, which is not Metropolis-adjusted, tuned for every chain; two gradients a step."""
    import blackjax

    kernel = blackjax.mcmc.mclmc.build_kernel()

    def tune(key: jax.Array, position: jax.Array) -> Any:
        first, second = jax.random.split(key)
        state = blackjax.mclmc.init(position=position, logdensity_fn=density, rng_key=first)
        find = partial(blackjax.mclmc_find_L_and_step_size, mclmc_kernel=kernel, num_steps=warmup)
        return find(state=state, rng_key=second, logdensity_fn=density)[:2]

    keys = jax.random.split(jax.random.key(1), len(q))
    (start, tuned), cpu, _ = clocked(jax.jit(jax.vmap(tune)), keys, q)

    def one(key: jax.Array, state: Any, tuning: Any) -> Any:
        metric = {"inverse_mass_matrix": tuning.inverse_mass_matrix}
        return blackjax.mclmc(density, tuning.L, tuning.step_size, **metric).step(key, state)[0]

    def one_step(keys: jax.Array, states: Any) -> tuple[Any, jax.Array]:
        return jax.vmap(one)(keys, states, tuned), jnp.full(len(q), 2)

    return _compiled(_loop(one_step, start, len(q), draws), lock_step=False, cpu_before=cpu)


def numpyro_warm(make: Callable[[], Any], q: jax.Array, warmup: int) -> Warm:
    """A NumPyro kernel after its own warm-up."""
    kernel, begin = make(), time.process_time()
    mcmc = _numpyro(kernel, len(q), warmup, 1)
    mcmc.warmup(jax.random.key(1), init_params=q)
    return Warm(mcmc.post_warmup_state, (kernel, warmup), time.process_time() - begin)


def _numpyro(kernel: Any, chains: int, warmup: int, draws: int) -> Any:
    from numpyro.infer import MCMC

    options = {"chain_method": "vectorized", "progress_bar": False}
    return MCMC(kernel, num_warmup=warmup, num_samples=draws, num_chains=chains, **options)


def numpyro(make: Callable[[], Any], q: jax.Array, warm: Warm | None, draws: int, fewer: int) -> Peer:
    """A NumPyro kernel with a potential, ``chain_method="vectorized"``. Every run compiles its loop anew: hence the slope."""

    def run(draws: int, number: int) -> Drawn:
        # A kernel that is initialized twice for several chains fails: without warm-up every run has its own.
        kernel, warmup = warm.tuning if warm else (make(), 0)
        mcmc = _numpyro(kernel, len(q), warmup, draws)
        mcmc.post_warmup_state = warm.start if warm else None
        mcmc.run(jax.random.key(number), init_params=None if warm else q, extra_fields=("num_steps",))
        counts = mcmc.get_extra_fields(group_by_chain=True)["num_steps"]
        return Drawn(mcmc.get_samples(group_by_chain=True), counts)

    return Peer(partial(run, draws), True, warm.cpu if warm else 0.0, partial(run, fewer))


def tfp(density: Density, q: jax.Array, step_size: float, draws: int, steps: int | None) -> Peer:
    """`tfp.mcmc.sample_chain` with its native batch of chains: HMC with that many leapfrog steps, or NUTS."""
    from tensorflow_probability.substrates.jax import mcmc

    batch = jax.vmap(density)
    hmc = mcmc.HamiltonianMonteCarlo(batch, step_size, steps) if steps else None
    kernel = hmc or mcmc.NoUTurnSampler(batch, step_size)
    counts = lambda _, results: jnp.full(len(q), steps) if steps else results.leapfrogs_taken

    @jax.jit
    def run(key: jax.Array) -> Drawn:
        positions, taken = mcmc.sample_chain(draws, current_state=q, kernel=kernel, trace_fn=counts, seed=key)
        return Drawn(jnp.swapaxes(positions, 0, 1), jnp.swapaxes(taken, 0, 1))

    return _compiled(lambda number: run(jax.random.key(number)), lock_step=steps is None)


def _mile(problem: str, result: str) -> None:
    """Train every member, warm up and sample with unadjusted microcanonical dynamics, with `bde`'s own functions and defaults."""
    import optax
    from bde.sampler.mile_wrapper import MileWrapper
    from bde.sampler.warmup import warmup_bde

    with np.load(problem) as file:
        given = {name: value if value.ndim else value.item() for name, value in file.items()}
    density, q = density_of(Network(*(given[name] for name in Network._fields))), jnp.asarray(given["q"])
    np.testing.assert_allclose(jax.vmap(density)(q), given["expected"], rtol=1e-4)
    optimizer, gradient = optax.adamw(1e-2), jax.vmap(jax.grad(density))

    def train(_: Any, carry: Any) -> Any:
        update, state = optimizer.update(-gradient(carry[0]), carry[1], carry[0])
        return optax.apply_updates(carry[0], update), state

    members = jax.lax.fori_loop(0, given["epochs"], train, (q, optimizer.init(q)))[0]
    builder = SimpleNamespace(n_members=len(q), params_e=members, members=None, seed=given["number"])
    warm, cpu_before, _ = clocked(warmup_bde, builder, density, 1e-3, 0.5, 0.1, given["warmup"])
    tuning = (warm.parameters.L, warm.parameters.step_size, warm.parameters.sqrt_diag_cov)
    key = jax.random.PRNGKey(given["number"])
    start = (jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(q))), warm.state.position)

    def sample(draws: int) -> Any:
        return MileWrapper(density).sample_batched(*start, draws, given["thin"], *tuning)[0]

    # Its loop is compiled anew for every run; the slope between two runs takes that out.
    draws, fewer = given["draws"], max(1, given["draws"] // 10)
    _, less, less_wall = clocked(sample, fewer)
    positions, cpu, wall = clocked(sample, draws)
    share = draws / (draws - fewer)
    cost = {"cpu": share * (cpu - less), "wall": share * (wall - less_wall), "cpu_before": cpu_before}
    np.savez(result, positions=positions, gradients=2 * draws * len(q), **cost)


if __name__ == "__main__":
    _mile(*sys.argv[2:])
