# One image for Ray's nodes, jobs, the scheduler and the MLflow server; dependencies from the lock, no root.
#   docker build --build-arg UNREASONABLE_GIT_COMMIT=$(git rev-parse HEAD) -t unreasonable:0.1.0 .
# Not built by this project's tests (no container engine there); they check that it agrees with pyproject.toml and the lock.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY requirements.lock ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY jobs jobs
COPY cluster cluster
RUN /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
# wget: KubeRay's probes of Ray's nodes; git is left out on purpose: the commit comes from the build.
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home ray
COPY --from=build /venv /venv
COPY --from=build --chown=1000:1000 /app /app
ARG UNREASONABLE_GIT_COMMIT=""
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token MLFLOW_DISABLE_TELEMETRY=true \
    UNREASONABLE_GIT_COMMIT=$UNREASONABLE_GIT_COMMIT
WORKDIR /app
USER 1000
CMD ["python", "jobs/train.py", "--help"]
