# syntax=docker/dockerfile:1

# Node itself comes with the base image; the pinned node packages of package.json are for checkouts (docs/adr/0001).
FROM node:26-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:26-bookworm-slim AS dependencies
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force

FROM node:26-bookworm-slim
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production
WORKDIR /opt/portcullis
RUN groupadd --system --gid 10001 portcullis \
 && useradd --system --uid 10001 --gid portcullis --no-create-home --shell /usr/sbin/nologin portcullis \
 && install -d -o portcullis -g portcullis -m 0700 /var/lib/portcullis \
 && install -d /etc/portcullis
COPY --from=dependencies /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY package.json LICENSE config.example.yaml ./
COPY policies ./policies
USER portcullis
# /etc/portcullis: portcullis.yaml, policies and secrets, read-only. /var/lib/portcullis: the embedded store and the audit files.
VOLUME /var/lib/portcullis
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9090/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Node is process 1 and handles SIGTERM (drain), SIGINT and SIGHUP (reload) itself; no shell stands in between.
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "/opt/portcullis/dist/main.js"]
CMD ["serve", "--config", "/etc/portcullis/portcullis.yaml"]
