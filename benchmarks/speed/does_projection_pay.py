"""Does a gradient in projected coordinates of digits cost what one of a task with as few inputs costs?

Digits 0, 1, 2 with 784 pixels, P = 100, N = 200: gradients of the log-density over all weights and over the weights along the training
inputs, next to those of Gaussian clusters with 100 inputs, all weights. Calls come in
random order, since the first one after a large one finds the caches full of it; the medians are compared.

    python benchmarks/speed/does_projection_pay.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from timed import write_result

import hiddencodes as hc
from hiddencodes.sampling.problem import problem
from hiddencodes.sampling.target import Density

CHAINS, WIDTH, ROUNDS = 8, 200, 400


def gradient(posterior):
    """A compiled gradient over all chains, and a position."""
    setting = problem([posterior], None)
    data = jax.tree.map(lambda leaf: leaf[0], setting.data(np.dtype("float32")))
    target = setting.target
    scale = jnp.ones(target.dimension, jnp.float32)
    density = Density(target, data, scale, 1.0 / data.temperature)
    q = jax.random.normal(jax.random.key(0), (CHAINS, target.dimension), jnp.float32)
    return jax.jit(jax.vmap(jax.grad(density))), q


def main() -> None:
    """Run everything and write the result."""
    digits = hc.mnist(digits=(0, 1, 2), n_train=100, n_test=6, size=28)
    few = hc.gaussian_clusters(n_train=100, n_inputs=100, n_test=6)

    def posterior(task: hc.Task) -> hc.Posterior:
        mlp = hc.MLP(task.n_inputs, task.n_outputs, WIDTH, 1, hc.sigmoidal, hc.mean_field)
        return hc.Posterior(mlp, task, n_temperature=0.004)

    cases = {
        "784 pixels, all weights": posterior(digits),
        "784 pixels, projected": hc.project_inputs(posterior(digits)),
        "100 inputs, all weights": posterior(few),
        "100 inputs, projected": hc.project_inputs(posterior(few)),
    }
    functions = {name: gradient(p) for name, p in cases.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    rng = np.random.default_rng(0)
    for number in range(ROUNDS + 3):
        for name in rng.permutation(list(cases)).tolist():
            function, q = functions[name]
            begin = time.perf_counter()
            jax.block_until_ready(function(q))
            if number >= 3:
                times[name].append((time.perf_counter() - begin) / CHAINS)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, value in medians.items():
        print(
            f"{name:26s} {1e6 * value:7.1f} us per gradient, {value / medians['100 inputs, all weights']:.2f} of 100 inputs"
        )
    write_result(__file__, {"question": __doc__.splitlines()[0], "seconds_per_gradient": medians})


if __name__ == "__main__":
    main()
