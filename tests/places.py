"""Where things are: the checkout, its example image, and the shared data beside it, which may be absent."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"
ASTRONAUT = ROOT / "src/mien/examples/astronaut.png"
