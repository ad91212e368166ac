"""What theory predicts for the sampled networks: closed forms and small solvers."""

from hiddencodes.theory.gaussian_process import GaussianProcessPrediction as GaussianProcessPrediction
from hiddencodes.theory.gaussian_process import LazyPrediction as LazyPrediction
from hiddencodes.theory.gaussian_process import gaussian_process_regression as gaussian_process_regression
from hiddencodes.theory.gaussian_process import lazy_prediction as lazy_prediction
from hiddencodes.theory.gaussian_process import log_evidence as log_evidence
from hiddencodes.theory.linear import LinearSaddle as LinearSaddle
from hiddencodes.theory.linear import ReadoutOverlapLaw as ReadoutOverlapLaw
from hiddencodes.theory.linear import linear_saddle as linear_saddle
from hiddencodes.theory.linear import readout_overlap_exact as readout_overlap_exact
from hiddencodes.theory.linear_posterior import LinearPosteriorDraws as LinearPosteriorDraws
from hiddencodes.theory.linear_posterior import sample_linear_posterior as sample_linear_posterior
