# fairlead alone. Build it in the repository: docker build -f docker/fairlead.Dockerfile -t fairlead .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin fairlead && mkdir /state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/fairlead /usr/bin/fairlead
COPY --from=build --chown=nonroot:nonroot /state /var/lib/fairlead
USER nonroot
# TERM drains: turns end, then it exits with 0. Give it more time than [drain] has.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s CMD ["/usr/bin/fairlead", "healthcheck", "--config", "/etc/fairlead/fairlead.toml"]
ENTRYPOINT ["/usr/bin/fairlead"]
CMD ["run", "--config", "/etc/fairlead/fairlead.toml"]
