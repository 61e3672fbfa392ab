# The testbed itself, for CI that is to run it without building it: tools/build-image puts together what is copied here.
# Labs under the virtual clock need no privileges; the real clock needs a container with --privileged.
ARG BASE=debian@sha256:2424c1850714a4d94666ec928e24d86de958646737b1d113f5b2207be44d37d8
FROM ${BASE}
COPY install testbed.packages requirements.lock /usr/share/testbed/
RUN sh /usr/share/testbed/install /usr/share/testbed/testbed.packages
COPY wheels /usr/share/testbed/wheels
RUN python3 -m venv /opt/testbed \
    && /opt/testbed/bin/pip install --quiet --no-index --find-links /usr/share/testbed/wheels \
        --require-hashes -r /usr/share/testbed/requirements.lock \
    && /opt/testbed/bin/pip install --quiet --no-index --no-deps /usr/share/testbed/wheels/lossless_testbed-*.whl \
    && rm -r /usr/share/testbed/wheels
WORKDIR /lab
ENTRYPOINT ["/opt/testbed/bin/testbed"]
