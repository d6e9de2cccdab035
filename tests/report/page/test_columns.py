import base64
import gzip
import json

import numpy as np
import pytest

from flaxae.report.page.columns import pack, pack_texts


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_the_planes_of_bytes_are_those_of_the_array(dtype):
    array = np.random.default_rng(0).integers(0, 200, (5, 3)).astype(dtype)
    packed = pack(array)
    assert packed["type"] == dtype
    assert packed["shape"] == (5, 3)
    planes = np.frombuffer(gzip.decompress(base64.b64decode(packed["bytes"])), np.uint8)
    found = planes.reshape(array.itemsize, -1).T.copy().view(dtype).reshape(5, 3)
    np.testing.assert_array_equal(found, array)


def test_texts_of_any_kind_come_back():
    texts = ["</script>", "a\nb", "\udc80", "é"]
    packed = pack_texts(texts)
    assert json.loads(gzip.decompress(base64.b64decode(packed["bytes"]))) == texts
