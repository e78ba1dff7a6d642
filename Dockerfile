# mobilebench with all its extras, for the nodes of a cluster (docs/cluster.md): docker build -t mobilebench .
#
# One image for CPUs and for NVIDIA's GPUs: PyTorch's wheels for Linux bring CUDA with them, the host brings the driver.
# Build arguments, each optional:
#
#   BASE           another Debian or Ubuntu that has Python 3.11 to 3.13, or packages of it: a runtime image of
#                  nvidia/cuda, where a site wants its libraries
#   TORCH_INDEX    address of an index with other builds of the same PyTorch; those without CUDA save some 4 GB. The
#                  hashes of requirements.lock do not cover them; they do cover everything else
#   PIP_INDEX_URL  a mirror, for everything that has a hash
ARG BASE=python:3.12-slim

FROM ${BASE} AS base
# git says what a run was trained with; a compiler is what torch.compile works with.
# hadolint ignore=DL3008
RUN if command -v python3; then set --; else set -- python3-dev python3-venv; fi \
    && apt-get update \
    && apt-get install --yes --no-install-recommends g++ git "$@" \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG TORCH_INDEX=""
ARG PIP_INDEX_URL
WORKDIR /build
COPY requirements.lock .
RUN python3 -m venv /opt/mobilebench
ENV PATH=/opt/mobilebench/bin:$PATH
RUN if [ -z "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock; \
    else \
      awk '/^[^ ]/ { left_out = ($0 ~ /^(torch|torchvision|triton|cuda-[a-z]+|nvidia-(cu|nccl|nv)[a-z0-9-]*)==/) } !left_out' \
        requirements.lock >others.lock \
      && pip install --no-cache-dir --no-deps --require-hashes --requirement others.lock \
      && grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock >torch.lock \
      && pip install --no-cache-dir --index-url "$TORCH_INDEX" --requirement torch.lock; \
    fi
COPY LICENSE README.md pyproject.toml ./
COPY mobilebench mobilebench
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && mobilebench --version

FROM base
COPY --from=build /opt/mobilebench /opt/mobilebench
# A login shell, as Kubernetes' operator for Ray may start, sets PATH anew. A project that is mounted belongs to somebody
# else, which git wants to be told of; and so does whoever runs this, with --user.
RUN echo "PATH=/opt/mobilebench/bin:\$PATH" >/etc/profile.d/mobilebench.sh \
    && git config --system --add safe.directory '*' \
    && useradd --create-home --uid 10001 mobilebench \
    && chmod 1777 /home/mobilebench \
    && install --directory --owner=mobilebench /project
ENV PATH=/opt/mobilebench/bin:$PATH \
    HOME=/home/mobilebench \
    USER=mobilebench \
    PYTHONUNBUFFERED=1 \
    DVC_NO_ANALYTICS=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /project
ENTRYPOINT ["mobilebench"]
CMD ["--help"]
