# syntax=docker/dockerfile:1
# One image for every role: `credstream gateway`, `credstream worker`. BASE is any glibc image with
# Python 3.11 or newer as python3 and its venv module; name it by digest where it is deployed:
#     docker build --build-arg BASE=python:3.13-slim@sha256:... --tag credstream .
ARG BASE=python:3.13-slim

# Both stages share BASE, so that the interpreter's path in the environment stays right.
# hadolint ignore=DL3006
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# What builds is not in the environment that is kept, nor is pip.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/credstream
COPY deploy/image/build.lock ./
RUN tools/bin/pip install --require-hashes --only-binary :all: -r build.lock
COPY deploy/image/requirements.lock ./
# dkimpy is published as source only.
RUN tools/bin/pip wheel --require-hashes --only-binary :all: --no-binary dkimpy \
        --no-build-isolation --wheel-dir wheels -r requirements.lock
COPY pyproject.toml README.md ./
COPY schemas ./schemas
COPY streams ./streams
COPY credentials ./credentials
COPY outbound ./outbound
COPY consumers ./consumers
COPY gateway ./gateway
COPY credstream ./credstream
# Two builds of the same sources make the same files.
ARG SOURCE_DATE_EPOCH=0
RUN tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheels . \
    && tools/bin/pip --python /opt/credstream/bin/python install \
        --no-deps --no-index --no-compile wheels/*.whl \
    && /opt/credstream/bin/python -m compileall -q -j 0 \
        --invalidation-mode unchecked-hash /opt/credstream

# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="credstream" \
      org.opencontainers.image.description="A job-queue system for credential platforms"
ENV PATH=/opt/credstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    APP_ENV=production
# Owned by root: what runs cannot change what it runs.
COPY --from=build /opt/credstream /opt/credstream
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM
# For compose; Kubernetes has probes of its own and ignores it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["credstream", "health"]
ENTRYPOINT ["credstream"]
CMD ["gateway"]
