"""The tasks that networks are trained for, by the name in an entry of the table of experiments."""

from hw2.tasks import classification, segmentation
from hw2.tasks.protocol import Task

TASKS: dict[str, Task] = {"classification": classification, "segmentation": segmentation}
