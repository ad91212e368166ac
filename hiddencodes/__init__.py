"""Sample the weight posteriors of wide neural networks and say which codes their hidden layers use.

Everything public is on this level::

    import hiddencodes as hc

    task = hc.mnist(digits=(0, 1, 2), n_train=60, n_test=30, size=10)
    mlp = hc.MLP(task.n_inputs, task.n_outputs, 100, 1, hc.sigmoidal, hc.mean_field)
    run = hc.sample(hc.Posterior(mlp, task, n_temperature=0.01), chains=4, seeds=2)
    print(hc.convergence(run).verdict)
    print(hc.coding_scheme(run).sentence)
"""

from hiddencodes.diagnostics import CodeFraction as CodeFraction
from hiddencodes.diagnostics import CodeTable as CodeTable
from hiddencodes.diagnostics import ConvergenceReport as ConvergenceReport
from hiddencodes.diagnostics import DriftReport as DriftReport
from hiddencodes.diagnostics import SchemeDecision as SchemeDecision
from hiddencodes.diagnostics import SchemeReport as SchemeReport
from hiddencodes.diagnostics import autocorrelation as autocorrelation
from hiddencodes.diagnostics import chain_mean as chain_mean
from hiddencodes.diagnostics import class_means as class_means
from hiddencodes.diagnostics import classify_codes as classify_codes
from hiddencodes.diagnostics import code_changes as code_changes
from hiddencodes.diagnostics import code_table as code_table
from hiddencodes.diagnostics import codes as codes
from hiddencodes.diagnostics import coding_scheme as coding_scheme
from hiddencodes.diagnostics import convergence as convergence
from hiddencodes.diagnostics import drift as drift
from hiddencodes.diagnostics import outlier_units as outlier_units
from hiddencodes.diagnostics import participation_ratio as participation_ratio
from hiddencodes.models import MLP as MLP
from hiddencodes.models import Activation as Activation
from hiddencodes.models import Activations as Activations
from hiddencodes.models import BiasScaling as BiasScaling
from hiddencodes.models import GaussianPrior as GaussianPrior
from hiddencodes.models import LayerScaling as LayerScaling
from hiddencodes.models import Likelihood as Likelihood
from hiddencodes.models import Network as Network
from hiddencodes.models import NNGPKernels as NNGPKernels
from hiddencodes.models import Parameterization as Parameterization
from hiddencodes.models import Params as Params
from hiddencodes.models import Posterior as Posterior
from hiddencodes.models import PosteriorData as PosteriorData
from hiddencodes.models import PowerLaw as PowerLaw
from hiddencodes.models import activation as activation
from hiddencodes.models import activation_kernel as activation_kernel
from hiddencodes.models import activation_mean as activation_mean
from hiddencodes.models import categorical as categorical
from hiddencodes.models import class_mean_prior as class_mean_prior
from hiddencodes.models import clipped_relu as clipped_relu
from hiddencodes.models import erf as erf
from hiddencodes.models import gaussian as gaussian
from hiddencodes.models import hard_tanh as hard_tanh
from hiddencodes.models import leaky_relu as leaky_relu
from hiddencodes.models import linear as linear
from hiddencodes.models import mean_field as mean_field
from hiddencodes.models import mup as mup
from hiddencodes.models import nngp_kernels as nngp_kernels
from hiddencodes.models import ntk as ntk
from hiddencodes.models import parameterization as parameterization
from hiddencodes.models import relu as relu
from hiddencodes.models import shifted_relu as shifted_relu
from hiddencodes.models import sigmoidal as sigmoidal
from hiddencodes.models import standard as standard
from hiddencodes.models import tanh as tanh
from hiddencodes.sampling import SAMPLER_NAMES as SAMPLER_NAMES
from hiddencodes.sampling import Context as Context
from hiddencodes.sampling import NumPyroNUTS as NumPyroNUTS
from hiddencodes.sampling import Observable as Observable
from hiddencodes.sampling import Progress as Progress
from hiddencodes.sampling import Sampler as Sampler
from hiddencodes.sampling import adjusted_mclmc as adjusted_mclmc
from hiddencodes.sampling import default_observables as default_observables
from hiddencodes.sampling import hmc as hmc
from hiddencodes.sampling import mala as mala
from hiddencodes.sampling import numpyro_nuts as numpyro_nuts
from hiddencodes.sampling import nuts as nuts
from hiddencodes.sampling import open_run as open_run
from hiddencodes.sampling import sample as sample
from hiddencodes.tasks import ImageSet as ImageSet
from hiddencodes.tasks import Task as Task
from hiddencodes.tasks import class_targets as class_targets
from hiddencodes.tasks import from_arrays as from_arrays
from hiddencodes.tasks import gaussian_clusters as gaussian_clusters
from hiddencodes.tasks import image_task as image_task
from hiddencodes.tasks import load_images as load_images
from hiddencodes.tasks import mnist as mnist
from hiddencodes.tasks import orthogonal_classes as orthogonal_classes
from hiddencodes.theory import GaussianProcessPrediction as GaussianProcessPrediction
from hiddencodes.theory import LazyPrediction as LazyPrediction
from hiddencodes.theory import LinearPosteriorDraws as LinearPosteriorDraws
from hiddencodes.theory import LinearSaddle as LinearSaddle
from hiddencodes.theory import ReadoutOverlapLaw as ReadoutOverlapLaw
from hiddencodes.theory import gaussian_process_regression as gaussian_process_regression
from hiddencodes.theory import lazy_prediction as lazy_prediction
from hiddencodes.theory import linear_saddle as linear_saddle
from hiddencodes.theory import log_evidence as log_evidence
from hiddencodes.theory import readout_overlap_exact as readout_overlap_exact
from hiddencodes.theory import sample_linear_posterior as sample_linear_posterior
