"""Tasks: data sets and task generators, as inputs, targets, labels and names."""

from hiddencodes.tasks.clusters import gaussian_clusters as gaussian_clusters
from hiddencodes.tasks.digits import mnist as mnist
from hiddencodes.tasks.download import load_images as load_images
from hiddencodes.tasks.images import ImageSet as ImageSet
from hiddencodes.tasks.images import image_task as image_task
from hiddencodes.tasks.orthogonal import orthogonal_classes as orthogonal_classes
from hiddencodes.tasks.task import Task as Task
from hiddencodes.tasks.task import class_targets as class_targets
from hiddencodes.tasks.task import from_arrays as from_arrays
