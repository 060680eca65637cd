#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the folder that the workflow runs in: the checkout.
set -euo pipefail
python -m pip install --no-deps --editable .
