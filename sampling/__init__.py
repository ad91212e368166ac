"""Sampling: kernels, adaptation, the engine that runs chains, and the run it leaves behind."""

from hiddencodes.sampling.adjusted_mclmc import adjusted_mclmc as adjusted_mclmc
from hiddencodes.sampling.arguments import SAMPLER_NAMES as SAMPLER_NAMES
from hiddencodes.sampling.cavity_move import cavity_refresh as cavity_refresh
from hiddencodes.sampling.hmc import hmc as hmc
from hiddencodes.sampling.mala import mala as mala
from hiddencodes.sampling.move import Move as Move
from hiddencodes.sampling.numpyro_nuts import NumPyroNUTS as NumPyroNUTS
from hiddencodes.sampling.numpyro_nuts import numpyro_nuts as numpyro_nuts
from hiddencodes.sampling.nuts import nuts as nuts
from hiddencodes.sampling.observables import Context as Context
from hiddencodes.sampling.observables import Observable as Observable
from hiddencodes.sampling.observables import conditional_test_predictions as conditional_test_predictions
from hiddencodes.sampling.observables import conditional_test_variance as conditional_test_variance
from hiddencodes.sampling.observables import default_observables as default_observables
from hiddencodes.sampling.rotation_move import pair_rotation as pair_rotation
from hiddencodes.sampling.run_chains import Progress as Progress
from hiddencodes.sampling.run_tree import open_run as open_run
from hiddencodes.sampling.sample import sample as sample
from hiddencodes.sampling.sampler import Sampler as Sampler
from hiddencodes.sampling.starts import Start as Start
from hiddencodes.sampling.starts import composition_start as composition_start
from hiddencodes.sampling.starts import teacher_start as teacher_start
from hiddencodes.sampling.tempered_smc import TemperedSMC as TemperedSMC
from hiddencodes.sampling.tempered_smc import tempered_smc as tempered_smc
from hiddencodes.sampling.weights import final_weights as final_weights
