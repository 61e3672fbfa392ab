# A host of a lab: what people try a network with.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY install host.packages /usr/share/testbed/
RUN sh /usr/share/testbed/install /usr/share/testbed/host.packages
CMD ["sleep", "infinity"]
