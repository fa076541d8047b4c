# aloe on a CPU, with training. `docker build -t aloe .`, then `docker run --rm -v "$PWD/runs:/work/runs" aloe run demo`.
# Without training (a tenth of the size): `docker build --build-arg EXTRAS= -t aloe .`
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
RUN pip install --no-cache-dir build
COPY . /src
RUN python -m build --wheel --outdir /dist /src

FROM python:${PYTHON}-slim
ARG EXTRAS=train
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=build /dist /dist
COPY constraints.txt /dist/constraints.txt
RUN if [ -n "$EXTRAS" ]; then pip install --no-cache-dir -c /dist/constraints.txt --index-url "$TORCH_INDEX" torch; fi \
 && pip install --no-cache-dir -c /dist/constraints.txt "$(ls /dist/*.whl)${EXTRAS:+[$EXTRAS]}" \
 && rm -r /dist \
 && useradd --create-home --uid 1000 aloe && mkdir /work && chown aloe /work
USER aloe
WORKDIR /work
ENTRYPOINT ["aloe"]
CMD ["--help"]
