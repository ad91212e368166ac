"""Tasks: data sets and task generators, as inputs, targets, labels and names."""

from hiddencodes.tasks.alignment import aligned_conditions as aligned_conditions
from hiddencodes.tasks.alignment import isotropic_alignment as isotropic_alignment
from hiddencodes.tasks.clusters import gaussian_clusters as gaussian_clusters
from hiddencodes.tasks.conditions import LOGIC as LOGIC
from hiddencodes.tasks.conditions import ConditionTask as ConditionTask
from hiddencodes.tasks.conditions import factorial_latents as factorial_latents
from hiddencodes.tasks.conditions import logic_conditions as logic_conditions
from hiddencodes.tasks.conditions import unstructured_conditions as unstructured_conditions
from hiddencodes.tasks.conditions import walsh_functions as walsh_functions
from hiddencodes.tasks.conditions import xor_conditions as xor_conditions
from hiddencodes.tasks.digits import mnist as mnist
from hiddencodes.tasks.download import load_images as load_images
from hiddencodes.tasks.images import ImageSet as ImageSet
from hiddencodes.tasks.images import image_task as image_task
from hiddencodes.tasks.latents import LATENT_INPUTS as LATENT_INPUTS
from hiddencodes.tasks.latents import LatentTask as LatentTask
from hiddencodes.tasks.latents import continuous_latents as continuous_latents
from hiddencodes.tasks.latents import factorial_kernel as factorial_kernel
from hiddencodes.tasks.latents import inputs_of_kernel as inputs_of_kernel
from hiddencodes.tasks.latents import latent_conditions as latent_conditions
from hiddencodes.tasks.orthogonal import orthogonal_classes as orthogonal_classes
from hiddencodes.tasks.task import Task as Task
from hiddencodes.tasks.task import class_targets as class_targets
from hiddencodes.tasks.task import from_arrays as from_arrays
