"""A pipeline in one TOML file. Stages whose inputs and settings did not change are skipped."""

from __future__ import annotations

from mien.pipeline.run import Listener, PipelineResult, run_pipeline
from mien.pipeline.state import StageResult

__all__ = ["Listener", "PipelineResult", "StageResult", "run_pipeline"]
