# For those with a container engine; `make image` needs none and gives an image of the same content.
#   docker build -t docker.io/cutover/cutover:0.1.0 .
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# Static, so that it runs alone; no path of this stage stands in the program.
RUN export CARGO_BUILD_TARGET="$(rustc -vV | sed -n 's/^host: //p')" CARGO_TARGET_DIR=/target \
 && export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/usr/local/cargo=/cargo" \
 && cargo build --locked --release --bin cutover \
 && mkdir -p /out/bin /out/etc/ssl/certs \
 && cargo run --locked --release --quiet --package roots > /out/etc/ssl/certs/ca-certificates.crt \
 && mkdir -p /out/usr/share/doc/cutover && cp LICENSE /out/usr/share/doc/cutover/ \
 && cargo run --locked --release --quiet --package bom sbom > /out/usr/share/doc/cutover/sbom.cdx.json \
 && cargo run --locked --release --quiet --package bom notices > /out/usr/share/doc/cutover/THIRD-PARTY-NOTICES \
 && cp "/target/$CARGO_BUILD_TARGET/release/cutover" /out/bin/cutover

FROM scratch
COPY --from=build /out/ /
ENV PATH=/bin
USER 65532:65532
ENTRYPOINT ["/bin/cutover"]
