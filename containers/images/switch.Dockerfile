# A switch of a lab: the data plane forwards from outside, so it needs only what people look at interfaces with.
ARG BASE=debian@sha256:2424c1850714a4d94666ec928e24d86de958646737b1d113f5b2207be44d37d8
FROM ${BASE}
COPY install switch.packages /usr/share/testbed/
RUN sh /usr/share/testbed/install /usr/share/testbed/switch.packages
CMD ["sleep", "infinity"]
