"""Numbers about hidden activations and chains: are the chains to be trusted, and which codes do units carry?"""

from hiddencodes.diagnostics.codes import CodeFraction as CodeFraction
from hiddencodes.diagnostics.codes import CodeTable as CodeTable
from hiddencodes.diagnostics.codes import class_means as class_means
from hiddencodes.diagnostics.codes import code_table as code_table
from hiddencodes.diagnostics.codes import codes as codes
from hiddencodes.diagnostics.codes import outlier_units as outlier_units
from hiddencodes.diagnostics.codes import participation_ratio as participation_ratio
from hiddencodes.diagnostics.condition_readouts import balanced_dichotomies as balanced_dichotomies
from hiddencodes.diagnostics.condition_readouts import (
    cross_condition_generalization as cross_condition_generalization,
)
from hiddencodes.diagnostics.condition_readouts import shattering_dimension as shattering_dimension
from hiddencodes.diagnostics.condition_readouts import shuffled_responses as shuffled_responses
from hiddencodes.diagnostics.convergence import convergence as convergence
from hiddencodes.diagnostics.convergence_report import ConvergenceReport as ConvergenceReport
from hiddencodes.diagnostics.decision import SchemeDecision as SchemeDecision
from hiddencodes.diagnostics.decision import classify_codes as classify_codes
from hiddencodes.diagnostics.drift import DriftReport as DriftReport
from hiddencodes.diagnostics.drift import autocorrelation as autocorrelation
from hiddencodes.diagnostics.drift import code_changes as code_changes
from hiddencodes.diagnostics.drift import drift as drift
from hiddencodes.diagnostics.equilibrium import equilibrium as equilibrium
from hiddencodes.diagnostics.equilibrium_report import Disagreement as Disagreement
from hiddencodes.diagnostics.equilibrium_report import EquilibriumReport as EquilibriumReport
from hiddencodes.diagnostics.equilibrium_report import ShareComparison as ShareComparison
from hiddencodes.diagnostics.error_split import BiasVariance as BiasVariance
from hiddencodes.diagnostics.error_split import ComparedPart as ComparedPart
from hiddencodes.diagnostics.error_split import ErrorComparison as ErrorComparison
from hiddencodes.diagnostics.error_split import ErrorPart as ErrorPart
from hiddencodes.diagnostics.error_split import ErrorSplit as ErrorSplit
from hiddencodes.diagnostics.error_split import compare_bias_variance as compare_bias_variance
from hiddencodes.diagnostics.generalization import bias_variance as bias_variance
from hiddencodes.diagnostics.geometry import GEOMETRY_MEASURES as GEOMETRY_MEASURES
from hiddencodes.diagnostics.geometry import geometry as geometry
from hiddencodes.diagnostics.geometry import mean_and_error as mean_and_error
from hiddencodes.diagnostics.kernel_geometry import centred as centred
from hiddencodes.diagnostics.kernel_geometry import class_clustering as class_clustering
from hiddencodes.diagnostics.kernel_geometry import kernel_alignment as kernel_alignment
from hiddencodes.diagnostics.kernel_geometry import kernel_dimension as kernel_dimension
from hiddencodes.diagnostics.kernel_geometry import largest_target_alignment as largest_target_alignment
from hiddencodes.diagnostics.kernel_geometry import walsh_spectrum as walsh_spectrum
from hiddencodes.diagnostics.monte_carlo import chain_mean as chain_mean
from hiddencodes.diagnostics.move_acceptance import MoveAcceptance as MoveAcceptance
from hiddencodes.diagnostics.move_acceptance import move_acceptance as move_acceptance
from hiddencodes.diagnostics.parallelism import natural_pairing as natural_pairing
from hiddencodes.diagnostics.parallelism import parallelism_score as parallelism_score
from hiddencodes.diagnostics.scheme import SchemeReport as SchemeReport
from hiddencodes.diagnostics.scheme import coding_scheme as coding_scheme
from hiddencodes.diagnostics.symmetry_breaking import symmetry_breaking as symmetry_breaking
from hiddencodes.diagnostics.symmetry_report import LayerSymmetry as LayerSymmetry
from hiddencodes.diagnostics.symmetry_report import Overlap as Overlap
from hiddencodes.diagnostics.symmetry_report import SymmetryBreakingReport as SymmetryBreakingReport
from hiddencodes.diagnostics.transitions import CodeTransitions as CodeTransitions
from hiddencodes.diagnostics.transitions import code_transitions as code_transitions
