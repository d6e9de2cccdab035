from flaxae.api.export import first_images
from flaxae.data.splits import select
from tests.fixtures.synthetic_run import solid_images


def test_all_splits_keep_the_name_of_each():
    splits = {name: solid_images(n) for name, n in [("train", 3), ("validation", 2), ("test", 2)]}
    split, names = first_images(select(splits, "all"), "all", splits, 4)
    assert names == ["train"] * 3 + ["validation"]
    assert len(split.images) == len(split.labels) == 4
    assert len(first_images(splits["train"], "train", splits, 100)[1]) == 3
