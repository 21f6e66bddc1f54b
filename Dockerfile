# The image of deploy/rayjob.yaml, and of MLflow in deploy/mlflow.yaml: this checkout with the pinned versions.
# docker build --build-arg GIT_COMMIT=$(git describe --always --dirty) --tag REGISTRY/pruning-sweeps:0.1.0 .
FROM python:3.11-slim

# wget: KubeRay asks with it whether Ray is well. procps: deploy/rayjob.yaml ends a sweep with its pkill.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends procps wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 sweeps

WORKDIR /home/sweeps/pruning-sweeps
# In two steps, so that a change of the code does not install torch again. The first installs empty packages, which the
# second replaces: nothing refers to this folder, and the image works in any.
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir orchestrator pruners search_spaces trainables \
    && pip install --no-cache-dir --constraint constraints.txt '.[cluster]'
COPY orchestrator orchestrator
COPY pruners pruners
COPY search_spaces search_spaces
COPY trainables trainables
RUN pip install --no-cache-dir --no-deps --force-reinstall .
ARG GIT_COMMIT=unknown
ENV GIT_COMMIT=$GIT_COMMIT

USER sweeps
CMD ["python", "-m", "orchestrator.sweep", "--help"]
