# A mount in a container, on Debian's own packages; docs/operations.md has the flags it needs.

FROM debian:13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc libc6-dev libfuse3-dev pkg-config python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/provenafs
WORKDIR /source
COPY pyproject.toml README.md LICENSE requirements.lock ./
# The versions that are tested; of these only what provenafs itself needs is installed.
RUN grep == requirements.lock | tr -d '\\' > constraints.txt
COPY provenafs provenafs
RUN /opt/provenafs/bin/pip install --no-cache-dir -c constraints.txt .

FROM debian:13-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates fuse3 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && echo user_allow_other >> /etc/fuse.conf
COPY --from=build /opt/provenafs /opt/provenafs
ENV PATH=/opt/provenafs/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PROVENAFS_STATE_DIR=/state \
    PROVENAFS_CACHE_DIR=/cache
VOLUME ["/state", "/cache"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["provenafs"]
CMD ["mount", "--foreground", "--allow-other", "/srv/provena/drive"]
