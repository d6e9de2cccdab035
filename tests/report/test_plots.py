import io
import warnings

import numpy as np
import pytest
from PIL import Image

from flaxae.report.plots import draw_confusion, draw_embedding


@pytest.mark.parametrize("classes", [1, 3, 12, 30, 60, 200])
def test_plots_of_any_number_of_classes(classes):
    names = ["_a $\\broken$ formula", *(f"class_{i}" for i in range(1, classes))]
    labels = np.arange(60) % classes
    plane = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots = [
            draw_embedding(plane, [0.5, 0.2], labels, names),
            draw_embedding(plane, [0.5, 0.2], None, ()),
            draw_confusion(np.eye(classes, dtype=int), names),
        ]
    for plot in plots:
        with Image.open(io.BytesIO(plot)) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(2**20) or ()) > 3
