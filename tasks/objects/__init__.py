"""The objects that hands learn with: what is trained on, its groups, what is held out, and objects of one's own.

Primitives in sizes that a GR1 hand can hold (arXiv 2502.20396, sections A and C: policies trained on primitives carry
over to unseen objects). The groups are those of divide and conquer: one object, three groups alike in shape, three
mixed, all. A mesh file serves too, and an object itself, as data.
"""

from tasks.objects.catalogue import BLOCKS, GROUPS, HELD_OUT, MESHES, OBJECTS, TRAINING
from tasks.objects.names import expand, with_content

__all__ = ["BLOCKS", "GROUPS", "HELD_OUT", "MESHES", "OBJECTS", "TRAINING", "expand", "with_content"]
