"""mmdet imports mmcv's operators, so the adapter is put in place before any test module imports mmdet."""

import pacavit.openmmlab  # noqa: F401
