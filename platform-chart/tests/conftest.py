"""What pytest itself has to know."""

from __future__ import annotations

import pytest

# The helpers' own assertions say what was compared, as a test's do.
pytest.register_assert_rewrite("support")
