"""Settings of pytest."""

from __future__ import annotations

import pytest

# Failed assertions in helpers show what they compared.
pytest.register_assert_rewrite("support")
