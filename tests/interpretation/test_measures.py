"""Agreement of clusters with labels, against cases that one can count by hand."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from pacavit.interpretation.measures import Agreement, between_seeds, pack, spread, unpack


def agreement(clusters, labels, sizes, ignored=None):
    counted = Agreement(*sizes)
    counted.add(np.array(clusters), np.array(labels), ignored)
    return counted


def test_clusters_that_are_the_labels_under_other_numbers_agree_fully():
    found = agreement([2, 2, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2], (3, 3)).summary()
    assert found == pytest.approx({"nmi": 1, "purity": 1, "matched_miou": 1, "used": 3, "use_entropy": 1})


def test_one_cluster_for_all_has_the_share_of_the_commonest_label():
    found = agreement([1, 1, 1, 1], [0, 0, 0, 1], (4, 2)).summary()
    assert found["purity"] == 0.75
    assert found["nmi"] == pytest.approx(0)
    assert found["matched_miou"] == pytest.approx(0.75 / 2)  # the other class gets no pixel
    assert (found["used"], found["use_entropy"]) == (1, 0)


def test_a_class_has_one_cluster_in_the_matching_though_several_lie_in_it():
    counted = agreement([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1], (3, 2))
    assert counted.purity() == 1
    assert counted.matched_iou() == pytest.approx((0.5 + 1) / 2)


def test_a_class_that_gets_no_cluster_counts_as_nothing():
    assert agreement([0, 0, 0, 0], [0, 0, 1, 1], (1, 2)).matched_iou() == pytest.approx(0.5 / 2)


def test_mutual_information_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    clusters, labels = random.integers(0, 7, 500), random.integers(0, 4, 500)
    labels[clusters < 3] = 1
    expected = normalized_mutual_info_score(labels, clusters)
    assert agreement(clusters, labels, (7, 4)).nmi() == pytest.approx(expected)


def test_ignored_labels_and_classes_that_do_not_occur_do_not_count():
    counted = agreement([0, 0, 1], [0, 255, 1], (2, 150), ignored=255)
    assert counted.counts.sum() == 2
    assert counted.matched_iou() == 1


def test_images_add_up():
    counted = Agreement(2, 2)
    counted.add(np.zeros((2, 3), int), np.zeros((2, 3), int))
    counted.add(np.ones((1, 4), int), np.ones((1, 4), int))
    assert counted.counts.tolist() == [[6, 0], [0, 4]]


def test_spread_tells_one_patch_from_all():
    everywhere, one = np.full((1, 2, 4), 1 / 8), np.zeros((1, 2, 4))
    one[0, 0, 0] = 1
    assert spread(everywhere) == pytest.approx(1)
    assert spread(one) == 0
    assert spread(np.concatenate([everywhere, one])) == pytest.approx(0.5)


def test_seeds_are_alike_whatever_the_numbers_of_their_clusters():
    first, second = np.array([[0, 0], [1, 2]]), np.array([[5, 5], [3, 0]])
    assert unpack(pack(first)).tolist() == [0, 0, 1, 2]
    assert between_seeds([[pack(first)], [pack(second)]]) == pytest.approx(1)
    assert between_seeds([[pack(first)], [pack(np.zeros((2, 2)))]]) == pytest.approx(0)
    assert between_seeds([[pack(first)]]) is None


def test_without_a_labelled_pixel_nothing_is_divided_by():
    found = agreement([0, 1], [255, 255], (2, 3), ignored=255)
    assert found.summary() == {"nmi": 1, "purity": 1, "matched_miou": 1, "used": 0, "use_entropy": 0}


def test_one_patch_is_all_there_is():
    assert spread(np.ones((3, 1, 1))) == 1


def test_seeds_that_kept_other_images_are_not_compared():
    assert between_seeds([[pack(np.zeros((2, 2)))], [pack(np.zeros((3, 2)))]]) is None
