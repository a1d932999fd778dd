"""Images under a wrong name."""

import numpy as np

from train.data.mislabelled import find_mislabelled


def test_wrong_names_are_found_and_poor_images_are_not() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 64))
    codes = np.repeat(np.arange(20), 5)
    embeddings = centres[codes] + 0.5 * rng.normal(size=(100, 64))
    embeddings[0] = centres[7] + 0.5 * rng.normal(size=64)  # of person 7, under the name 0
    embeddings[50] = rng.normal(size=64)  # so poor that it is like nobody
    found = find_mislabelled(embeddings, [f"p{code}" for code in codes])
    assert np.flatnonzero(found).tolist() == [0]


def test_an_only_image_is_never_wrong() -> None:
    same = np.ones((3, 4))
    assert not find_mislabelled(same, ["a", "b", "c"]).any()
