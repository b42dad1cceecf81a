"""The whole road in one file: a TOML names the stages, and only those whose input or settings changed run again."""

from __future__ import annotations

from mien.pipeline.run import Listener, PipelineResult, run_pipeline
from mien.pipeline.state import StageResult

__all__ = ["Listener", "PipelineResult", "StageResult", "run_pipeline"]
