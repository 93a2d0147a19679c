# syntax=docker/dockerfile:1.7
# docker build --build-arg EXTRAS=worker,postgres,web -t segadmin:0.1.0 .
#
# constraints.txt pins torch. From PyPI that is the CUDA build on Linux/x86-64; it also runs on machines without a
# GPU. For CPU-only images, which are gigabytes smaller:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

FROM python:3.11.9-slim-bookworm AS build
ARG EXTRAS=worker,postgres,web
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/segadmin
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core core
COPY plugins plugins
COPY worker worker
COPY api api
RUN /opt/segadmin/bin/pip install -c constraints.txt ".[${EXTRAS}]"

FROM python:3.11.9-slim-bookworm
# LightGBM computes with OpenMP.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 segadmin \
    && install --directory --mode 0700 --owner segadmin --group segadmin /var/lib/segadmin
COPY --from=build /opt/segadmin /opt/segadmin
ENV PATH=/opt/segadmin/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SEGADMIN_HOME=/var/lib/segadmin
USER segadmin
WORKDIR /var/lib/segadmin
VOLUME /var/lib/segadmin
# No health check here: each service of docker-compose.yml knows what its health is.
STOPSIGNAL SIGTERM
ENTRYPOINT ["segadmin"]
CMD ["--help"]
