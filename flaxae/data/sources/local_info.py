"""What TFDS keeps of a dataset that it has not published."""

import tensorflow_datasets as tfds


class LocalInfo(tfds.core.DatasetInfo):
    """Does not look for what TFDS has published, which leaves an empty folder in /tmp each time."""

    def initialize_from_bucket(self) -> None:
        """Nothing: flaxae's own datasets are not in TFDS's bucket."""
