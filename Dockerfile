# Training with vLLM on NVIDIA GPUs, with the training packages of constraints-vllm.txt (vLLM pins its own, which for
# GPUs are others than for CPUs):
#   docker build --tag prefix-rft .
#   docker run --gpus all --ipc host --volume "$PWD:/work" prefix-rft train --config RECIPE.yaml --use_vllm true
# `--ipc host` gives the processes shared memory. The CUDA libraries come with PyTorch; the machine has the driver.
FROM python:3.11-slim-bookworm

# Triton and DeepSpeed compile kernels at their first use
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git ninja-build \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/prefix_rft_trl
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff constraints-vllm.txt ./
COPY recipes recipes
COPY prefix_rft_trl prefix_rft_trl
RUN grep -E '^(accelerate|datasets|math-verify|peft|transformers|trl)==' constraints-vllm.txt > pins.txt \
    && pip install --no-cache-dir --constraint pins.txt ".[vllm,deepspeed]" "vllm==0.31.0"

WORKDIR /work
ENTRYPOINT ["prefix-rft"]
CMD ["--help"]
