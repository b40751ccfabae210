# Everything that stages need, on a CUDA base. The base must bring Python 3.11 as `python3` with pip and venv; set it for your driver.
# Not covered yet: it is neither built nor run in CI. Take it as a starting point.
#   docker build -f docker/train.Dockerfile --build-arg BASE_IMAGE=<a CUDA image with Python 3.11> -t luthier-train .
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 LUTHIER_HOME=/home/luthier/state PATH=/opt/luthier/bin:$PATH
RUN useradd --create-home --uid 10001 luthier
COPY constraints.txt dist/luthier-*.whl /tmp/
RUN python3 -m venv /opt/luthier \
    && wheel=$(ls /tmp/luthier-*.whl) \
    && pip install -c /tmp/constraints.txt "${wheel}[all]" \
    && rm /tmp/luthier-*.whl /tmp/constraints.txt
USER luthier
WORKDIR /home/luthier
# Credentials come at run time, by environment or secret mounts; none belongs into an image.
ENTRYPOINT ["luthier"]
CMD ["--help"]
