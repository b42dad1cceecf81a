#!/usr/bin/env bash
# Trains the shipped models from data and two published networks, in stages; earlier models are the teachers.
#
#     scripts/train_family.sh ../shared/data [--threads 1 ...]
#
# Options after the data go to every `mien train`. Runs are in runs/; after a stop or kill, the same command resumes.
# About eight hours on one core with AVX-512 BF16, a day or more without. faceres.safetensors and dlib.safetensors
# must be in this folder: docs/training.md explains the import. docs/experiments.md has the result of each stage.
set -euo pipefail
data=${1:?usage: scripts/train_family.sh DATA [option of mien train ...]}
options=("${@:2}")

stage() {  # RECIPE RUN [option ...]: one run, unless it has ended
  local recipe=$1 run=runs/$2
  [ -f "scripts/family/$recipe.toml" ] && recipe=scripts/family/$recipe.toml
  [ -f "$run/validation.npz" ] || mien train "$recipe" --data "$data" --out "$run" --resume "${options[@]}" "${@:3}"
}

# From random weights: two heads, then self-distillation, less augmentation, and blur, low light and noise.
stage mien-small mien-small
stage mien-nano mien-nano
stage mien-small mien-small-finish --set seed=2 --set optimizer.epochs=8 --set optimizer.learning_rate=0.03 \
  --set optimizer.warmup_epochs=0.5 --set network.weights=runs/mien-small/best.safetensors --set network.interpolate=true
stage mien-small-2 mien-small-2
[ -f runs/calibrated/mien-small-fer2013.onnx ] || mien calibrate runs/mien-small-2/mien-small-fer2013.onnx --data "$data" \
  --method vector --name mien-small-fer2013 --out runs/calibrated/mien-small-fer2013.onnx
stage mien-small-3 mien-small-3
stage mien-small-4 mien-small-4
stage mien-nano-2 mien-nano-2
stage mien-nano-3 mien-nano-3

# A larger network, grown from it, as a teacher of the small ones.
stage grown grown --set name=mien-base --set network.weights=runs/mien-small-4/mien-small.onnx \
  --set 'distill.teachers=["runs/mien-small-4/mien-small.onnx", "runs/mien-small-4/mien-small-fer2013.onnx"]'
stage grown-2 grown-2
stage grown-2 grown-2b --set seed=12
stage grown-3 grown-3
stage mien-small-5 mien-small-5
stage mien-small-6 mien-small-6
stage mien-nano-4 mien-nano-4
stage mien-nano-5 mien-nano-5

# Networks pretrained on faces, the teachers of all.
stage faceres faceres
stage dlib dlib
stage faceres-2 faceres-2 --stop-after 6
[ -f runs/faceres-2-sixth.safetensors ] || cp runs/faceres-2/best.safetensors runs/faceres-2-sixth.safetensors
stage faceres-2 faceres-2
stage faceres-2 faceres-2b --set seed=63 --set augment.level=low --set augment.erase=0 --set optimizer.epochs=5 \
  --set optimizer.learning_rate=5e-4 --set optimizer.warmup_epochs=0.3 --set network.weights=runs/faceres-2-sixth.safetensors
stage faceres-3 faceres-3
stage faceres-3 faceres-3b --set seed=72
stage mien-small-7 mien-small-7
stage mien-small-8 mien-small-8
stage mien-nano-6 mien-nano-6
stage mien-nano-7 mien-nano-7
stage faceres-4 faceres-4
stage faceres-4 faceres-4b --set seed=82
stage faceres-5 faceres-5
stage mien-base mien-base
stage mien-small-9 mien-small-9
stage mien-small-10 mien-small-10
