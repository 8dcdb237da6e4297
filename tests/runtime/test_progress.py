"""Progress of a training in a log."""

import pytest

from pacavit.runtime.batch_log import is_progress, progress_line, span
from pacavit.runtime.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min"), (125, "2 min 5 s"), (12000, "3 h 20 min")]
)
def test_lengths_of_time(seconds, words):
    assert span(seconds) == words


@pytest.mark.parametrize(("rate", "words"), [(0.254, "0.25"), (9.97, "10"), (1234.5, "1,234")])
def test_a_slow_and_a_fast_training_have_a_line(rate, words):
    line = progress_line("ade20k a paca seed 0", 50, 160000, {"loss": 1.23456, "lr": 6e-5}, rate, 7300)
    assert (
        line
        == f"ade20k a paca seed 0: update 50/160000  loss 1.235  lr 6e-05  {words} images/s  2 h 1 min left"
    )
    assert is_progress(line)
    assert not is_progress("ade20k a paca seed 0: update 50/160000  mIoU 0.123")


def test_the_time_left_is_that_of_this_attempt_and_a_validation_is_no_slow_training(capsys):
    now = 0.0
    progress = Progress("a", steps=8, images_per_step=10, start=2, log_steps=2, clock=lambda: now)
    with progress:
        for step in range(3, 9):
            now += 1.0
            progress.update(loss=float(step), lr=0.1)
            if step == 4:
                now += 100.0
                progress.resume()
    assert capsys.readouterr().out.splitlines() == [
        "a: update 4/8  loss 3.5  lr 0.1  10 images/s  4 s left",
        "a: update 6/8  loss 5.5  lr 0.1  10 images/s  52 s left",
        "a: update 8/8  loss 7.5  lr 0.1  10 images/s  0 s left",
    ]
