"""The drawing of the pipeline: every stage once, after all that it reads."""

import itertools

from pacavit.figures import dag
from pacavit.pipeline.table import STAGES


def test_every_stage_of_the_target_all_is_drawn_after_what_it_reads():
    drawing = dag.draw({"pretrain": 3})
    nodes = {node.name: node for node in drawing.nodes}
    assert set(nodes) == {name for name, spec in STAGES.items() if not spec.released}
    for name, read in dag.reads().items():
        assert all(nodes[other].x < nodes[name].x for other in read)
    assert nodes["pretrain"].jobs == 3
    assert 20 < len(drawing.edges) < sum(map(len, dag.reads().values()))
    assert drawing.read["pretrain"] == ["prepare_imagenet"]


def test_no_node_lies_on_another_or_outside():
    drawing = dag.draw({})
    for a, b in itertools.combinations(drawing.nodes, 2):
        assert abs(a.x - b.x) >= drawing.node_width or abs(a.y - b.y) >= drawing.node_height
    for node in drawing.nodes:
        assert 0 <= node.x <= drawing.width - drawing.node_width
        assert 0 <= node.y <= drawing.height - drawing.node_height
