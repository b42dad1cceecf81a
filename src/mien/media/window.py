"""A window with the drawn frames; needs an OpenCV build with windows."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from mien.errors import OutputError
from mien.results import FrameResult

_ESCAPE = 27


class Window:
    """Shows drawn frame results; q, Escape or closing the window ends it. Its frames come from one thread."""

    def __init__(self, title: str, *, stop: Callable[[], None]) -> None:
        """stop: is called when the user closes the window. Raises OutputError where OpenCV has no windows."""
        self._title, self._stop = title, stop
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
            cv2.destroyWindow(title)  # the thread that draws makes its own
        except cv2.error as error:
            raise OutputError(
                "this OpenCV can't open a window; replace it:  pip uninstall opencv-python-headless && "
                "pip install opencv-python ; or omit --window and use the live page"
            ) from error
        self._open = False

    def write(self, result: FrameResult) -> None:
        """Shows a frame."""
        assert result.image is not None
        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
            self._open = True
        cv2.imshow(self._title, cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), _ESCAPE) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._stop()

    def close(self) -> None:
        """Closes the window."""
        if self._open:
            cv2.destroyAllWindows()
