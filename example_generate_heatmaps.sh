#!/usr/bin/env bash
# Heatmaps from a folder of features, a folder of slides and a checkpoint.
# As it stands it runs on the demo cohort, which is painted first if it is not there: ./example_generate_heatmaps.sh
# For your own data copy one of the variants below and put your paths in.
set -euo pipefail
cd "$(dirname "$0")"

PYTHON=python3
[ -x .venv/bin/python ] && PYTHON=.venv/bin/python

DEMO=heatmaps/demo
"$PYTHON" -c "from pathlib import Path; from mil_heatmaps.demo.cohort import make_cohort; make_cohort(Path('$DEMO'), print)"

"$PYTHON" generate_heatmaps.py \
    --checkpoint "$DEMO/checkpoints/abmil_demo.pt" \
    --h5_dir "$DEMO/h5_files" \
    --slide_dir "$DEMO/slides" \
    --output_dir "$DEMO/simple_results" \
    --csv "$DEMO/process_list.csv" \
    --class_names normal lesion \
    --top_patches 5 \
    --figure \
    "$@"

# PANDA: TRIDENT features at 20x, 256 px, UNI v2; an ABMIL trained on six ISUP grades. train.csv names slides in its
# column image_id. Try it on three slides first: add --limit 3, and --dry_run to see what would be done.
#
# "$PYTHON" generate_heatmaps.py \
#     --checkpoint checkpoints/abmil_panda.pt \
#     --model_name abmil.base.uni_v2.none \
#     --num_classes 6 \
#     --h5_dir /data/panda/trident/20x_256px_0px_overlap/features_uni_v2 \
#     --slide_dir /data/panda/train_images \
#     --slide_ext .tiff \
#     --csv /data/panda/train.csv \
#     --class_names ISUP0 ISUP1 ISUP2 ISUP3 ISUP4 ISUP5 \
#     --output_dir results/panda_heatmaps
#
# The same from the TRIDENT job, with the tissue outlines TRIDENT found (edit them in QuPath, and run this again):
#
# "$PYTHON" generate_heatmaps.py \
#     --checkpoint checkpoints/abmil_panda.pt \
#     --job_dir /data/panda/trident \
#     --coords_dir 20x_256px_0px_overlap \
#     --patch_encoder uni_v2 \
#     --wsi_dir /data/panda/train_images \
#     --output_dir results/panda_heatmaps
