# The image: one static binary and the certificates by which it knows other people's servers.
# `./image TAG` builds the binary, prepares the context and calls docker, podman or buildah.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY mcp-system /mcp-system
# Nobody: any number will do, Kubernetes wants one to see that it is not root.
USER 65532:65532
ENTRYPOINT ["/mcp-system"]
