# One image, one command: `serve`, `work`, `migrate`, `key create`, and `simulate` for trying it out.
# It holds no PostgreSQL: `dev` needs one of its own and is for a checkout.

FROM python:3.13-slim AS build

WORKDIR /build
COPY requirements.lock requirements-dev.lock ./

# What runs, and only that: every file checked against the lock's hashes.
RUN python -m venv /opt/chain-orders \
    && /opt/chain-orders/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

# What builds the wheel, out of the other lock.
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        requirements-dev.lock > build.lock \
    && pip install --no-cache-dir --require-hashes -r build.lock

COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/chain-orders/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.13-slim AS run

COPY --from=build /opt/chain-orders /opt/chain-orders
ENV PATH=/opt/chain-orders/bin:$PATH \
    PYTHONUNBUFFERED=1

# A number, so that an orchestrator can see that it is not root. The account needs no home and writes nothing.
USER 10001:10001
EXPOSE 8000

# Of the service. Whoever runs another command on another port, or on none, says so there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]

ENTRYPOINT ["chain-orders"]
CMD ["serve", "--host", "0.0.0.0"]
