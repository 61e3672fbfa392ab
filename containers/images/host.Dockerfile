# A host of a lab: what people try a network with.
ARG BASE=debian@sha256:2424c1850714a4d94666ec928e24d86de958646737b1d113f5b2207be44d37d8
FROM ${BASE}
COPY install host.packages /usr/share/testbed/
RUN sh /usr/share/testbed/install /usr/share/testbed/host.packages
CMD ["sleep", "infinity"]
