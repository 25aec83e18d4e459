# The server with its embedded model: no GPU, no weights, no downloads at run time.
#   docker build -t cosystream:cpu .
#   docker run --rm -p 127.0.0.1:8000:8000 -v cosystream:/data cosystream:cpu
FROM debian:bookworm-slim AS build
COPY scripts/container /usr/local/lib/cosystream
RUN /usr/local/lib/cosystream/install-packages python3 python3-venv
COPY . /source
# pip's index may be named by build arguments; this stage does not get into the image.
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL
RUN /usr/local/lib/cosystream/install-server /source /opt/cosystream

FROM debian:bookworm-slim
COPY scripts/container /usr/local/lib/cosystream
RUN /usr/local/lib/cosystream/install-packages python3 \
    && /usr/local/lib/cosystream/add-user cosystream 10001 /data
COPY --from=build /opt/cosystream /opt/cosystream
ENV PATH=/opt/cosystream/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    COSYSTREAM_HOST=0.0.0.0 \
    COSYSTREAM_DATA_DIRECTORY=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/local/lib/cosystream/is-ready"]
ENTRYPOINT ["cosystream"]
CMD ["serve"]
