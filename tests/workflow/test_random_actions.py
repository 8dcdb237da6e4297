"""Whatever one does, the results are those of a run from nothing, and what one tool has done is done for the other."""

import pytest
from random_actions import Actions, from_nothing

#: Actions of the test; `python benchmarks/actions.py` does as many as one asks for.
NUMBER = 8


@pytest.mark.slow
def test_results_are_those_of_a_run_from_nothing_after_any_actions(built, tmp_path):
    actions = Actions(built, seed=1)
    done = []
    for _ in range(NUMBER):
        done.append(actions.act())
        done.append(actions.run())
        assert built.results().items() >= kept(from_nothing(built, tmp_path / "scratch")).items(), done
        # DVC may take archives from its cache, which Snakemake does not miss.
        assert not built.snakemake() | built.dvc_repro(), done


def kept(results: dict[str, str]) -> dict[str, str]:
    """Return the results without archives, which may be gone once all is made from them."""
    return {path: digest for path, digest in results.items() if "/archives/" not in path}
