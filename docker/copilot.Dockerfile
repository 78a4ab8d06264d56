# One CLI server. The CLI is GitHub's, under its own licence.
FROM node:22-bookworm-slim
ARG COPILOT_VERSION=1.0.102
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git tini && rm -rf /var/lib/apt/lists/* \
    && npm install --global @github/copilot@${COPILOT_VERSION} && mkdir /data && chown node:node /data
USER node
ENV COPILOT_HOME=/data
WORKDIR /data
# The CLI starts children; tini reaps those that it leaves behind.
ENTRYPOINT ["tini", "--", "copilot", "--headless", "--host", "0.0.0.0"]
CMD ["--port", "4321"]
