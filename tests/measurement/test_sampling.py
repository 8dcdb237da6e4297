import itertools

import pytest

from pacavit.measurement.sampling import spread


@pytest.mark.parametrize(("total", "count"), [(1, 1), (5, 24), (24, 24), (50000, 64), (240, 24), (7, 3)])
def test_images_are_from_all_over_the_set(total, count):
    shown = spread(total, count)
    assert len(set(shown)) == min(total, count)
    assert shown == sorted(shown)
    assert set(shown) <= set(range(total))
    gaps = [b - a for a, b in itertools.pairwise(shown)]
    assert max(gaps, default=0) <= 2 * total / min(total, count)


def test_the_seed_gives_the_images():
    assert spread(1000, 10) == spread(1000, 10)
    assert spread(1000, 10) != spread(1000, 10, seed=1)


def test_classes_in_turn_and_classes_in_order_are_both_seen():
    shown = spread(240, 24)
    assert len({number % 10 for number in shown}) > 5
    assert len({number // 24 for number in shown}) == 10
