# The base stands once: both stages must have the same Python, since the second takes over the first one's packages. The
# digest is that of the index for all architectures. Another base, a mirror's or a newer one: --build-arg PYTHON=TAG
ARG PYTHON=3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM python:${PYTHON} AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
# Only a changed lock installs anew: the code is copied later.
COPY requirements.lock .
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --only-binary=:all: -r requirements.lock

FROM python:${PYTHON}
# Nothing is installed at run time, and what is not there needs no security updates.
RUN python -B -m pip uninstall --yes --no-cache-dir --root-user-action=ignore pip setuptools wheel
ENV PATH=/opt/venv/bin:$PATH
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv
# Readable for the user below whatever the builder's umask.
COPY --chmod=644 LICENSE .
COPY --chmod=755 app app
# The root file system is read-only at run time, so bytecode is written now: of the standard library (which comes
# without it) only what the service imports.
RUN ["python", "-c", "import app.__main__, app.server.start, encodings.idna, http.client, uvloop, uvicorn.lifespan.on, uvicorn.protocols.http.httptools_impl"]

ENV HOST=0.0.0.0 \
    PYTHONUNBUFFERED=1
EXPOSE 8000 9464
USER 10001:10001
ENTRYPOINT ["python", "-m", "app"]
# For Docker alone, Kubernetes has its own probes. It asks HOST, which may be one IPv6 address; 0.0.0.0 and :: lead to the
# container itself. http.client, since urllib would obey the environment's proxies.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection(os.environ.get('HOST') or '127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=2); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]

# Last, since they change with every build.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="message-state-proxy" \
      org.opencontainers.image.description="What became of an SMS message: a REST service in front of a platform's state.php" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
