# A switch of a lab: the data plane forwards from outside, so it needs only what people look at interfaces with.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY install switch.packages /usr/share/testbed/
RUN sh /usr/share/testbed/install /usr/share/testbed/switch.packages
CMD ["sleep", "infinity"]
