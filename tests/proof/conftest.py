"""The tiny models and their bundles, as the tests of the exporters have them."""

from __future__ import annotations

from tests.export.conftest import _answered_once as _answered_once
from tests.export.conftest import _one_thread as _one_thread
from tests.export.conftest import exported as exported
from tests.export.conftest import painted as painted
from tests.export.conftest import sam as sam
