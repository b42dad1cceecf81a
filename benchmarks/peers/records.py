"""The measurements of each peer, one JSON file each, written atomically after every part."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogue import Peer

from mien.files import make_folder, write_text


class Records:
    """A folder of records; their parts: environment, answers, photos, speed, cold, or failed."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.folder = folder

    def get(self, peer: Peer, part: str) -> Any:
        """A part of a peer's record, None where it isn't there."""
        return self.whole(peer).get(part)

    def put(self, peer: Peer, part: str, value: object) -> None:
        """Writes a part."""
        record = {**self.whole(peer), part: value}
        write_text(self._place(peer), json.dumps(record, indent=1) + "\n")

    def whole(self, peer: Peer) -> dict[str, Any]:
        """Everything that is known of a peer."""
        place = self._place(peer)
        return json.loads(place.read_text("utf-8")) if place.exists() else {}

    def has(self, peer: Peer) -> bool:
        """Whether anything is known."""
        return self._place(peer).exists()

    def failed(self, peer: Peer) -> bool:
        """Whether it can't be run."""
        return self.get(peer, "failed") is not None

    def forget(self, peers: Sequence[Peer]) -> None:
        """Removes the records of these peers."""
        for peer in peers:
            self._place(peer).unlink(missing_ok=True)

    def _place(self, peer: Peer) -> Path:
        return self.folder / f"{re.sub(r'[^a-z0-9]+', '-', peer.name.lower()).strip('-')}.json"
