"""How library functions report: progress through a callback, warnings through the logger `mien`. They print nothing."""

import logging
from collections.abc import Callable

Progress = Callable[[int, int | None], None]
"""Called with the number of items that are done, and the total, None where it is not known."""

log_warning = logging.getLogger("mien").warning
"""Where warnings go if the caller gives no function of its own."""
