#!/bin/sh
# slim.sh FOLDER: removes from the packages of an environment what no process of ours ever opens.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)

find "$packages" -depth -type d -name tests \( -path '*/numpy/*' -o -path '*/pandas/*' \
  -o -path '*/networkx/*' -o -path '*/sympy/*' \) -exec rm -rf {} +
find "$packages" -name '*.pyi' -delete

# Gradio's rendering by Node, its demonstrations, its cutting of videos and its plots.
gradio=$packages/gradio
rm -rf "$gradio/templates/node" "$gradio/media_assets" \
  "$gradio/templates/frontend/static/ffmpeg" "$gradio/templates/frontend/static/bokeh"

# Descriptions of the 400 services of AWS that are not S3.
find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 -exec rm -rf {} +

# What OpenVINO would run on GPUs and NPUs of Intel's, and its headers.
openvino=$packages/openvino
rm -rf "$openvino"/libs/*gpu_plugin* "$openvino"/libs/*npu* "$openvino/libs/cache.json" \
  "$openvino/include"
