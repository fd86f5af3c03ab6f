import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { z } from 'zod';
import { type Diagnostic, hasErrors, sortDiagnostics } from '../base/diagnostic.ts';
import { missingFileHint } from '../base/nearest-file.ts';
import { certificatesIn } from '../base/pem.ts';
import { Secret } from '../base/secret.ts';
import { MAKE_A_KEY } from '../base/signing-key.ts';
import { type DocumentPath, type LocatedDocument, salvageYamlDocument } from '../base/yaml-document.ts';
import type {
  Config,
  IntrospectionConfig,
  ListenConfig,
  RedisConnection,
  StoreConfig,
  UpstreamConfig,
} from './config.ts';
import { ownPrefixConflict } from './introspection-schema.ts';
import { checkKeyFiles, issuers } from './issuers.ts';
import { resource } from './resource-schema.ts';
import { configSchema } from './schema.ts';
import { errorCode } from './secret-reference.ts';

type ConfigDocument = z.output<ReturnType<typeof configSchema>>;

export interface LoadedConfig {
  /** Null when there is an error among the diagnostics. */
  readonly config: Config | null;
  /** The folder of the policies, so that they can be checked in the same go; null where it cannot be told. */
  readonly policies: string | null;
  readonly diagnostics: readonly Diagnostic[];
}

const LARGEST_CONFIG_BYTES = 1024 * 1024;
const DEFAULT_WAIT_MS = 500;
const DEFAULT_LEAD_MS = 15 * 60_000;

/**
 * Reads and checks a configuration file, its secrets and certificates included. Every error comes at once, each at
 * its place, with `file` as it was given; nothing that is wrong with a file is thrown.
 */
export async function loadConfig(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<LoadedConfig> {
  const failed = (message: string): LoadedConfig => ({
    config: null,
    policies: null,
    diagnostics: [{ severity: 'error', file, line: 1, col: 1, message }],
  });
  let text: string;
  try {
    const bytes = await readFile(file);
    if (bytes.length > LARGEST_CONFIG_BYTES) return failed('the configuration is larger than 1 MiB');
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return failed('the configuration is not UTF-8');
    const hint = errorCode(error) === 'ENOENT' ? await missingFileHint(file) : '';
    return failed(`cannot be read (${errorCode(error)})${hint}`);
  }
  return parseConfig(text, file, env);
}

/** Checks the text of a configuration as if it stood in `file`. */
export function parseConfig(
  text: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): LoadedConfig {
  const absolute = resolve(file);
  const { document, diagnostics } = salvageYamlDocument(text, file, configSchema({ folder: dirname(absolute), env }));
  if (document === null) return { config: null, policies: null, diagnostics: sortDiagnostics(diagnostics) };
  const found = sortDiagnostics([
    ...diagnostics,
    ...checkTls(document),
    ...checkStoreTls(document),
    ...checkKeyFiles(document),
    ...checkAssertions(document),
    ...checkOwnPrefix(document),
    ...warnings(document),
  ]);
  const policies = document.damaged(['policies']) ? null : document.value.policies;
  return { config: hasErrors(found) ? null : resolved(document.value, absolute), policies, diagnostics: found };
}

function diagnostic(
  document: LocatedDocument<ConfigDocument>,
  severity: Diagnostic['severity'],
  path: DocumentPath,
  message: string,
): Diagnostic {
  return { severity, file: document.file, ...document.locate(path), message: `${path.join('.')}: ${message}` };
}

function checkTls(document: LocatedDocument<ConfigDocument>): Diagnostic[] {
  const { tls } = document.value.listen;
  if (tls === undefined) return [];
  const { cert, key, client_ca: ca, client_auth: auth } = tls;
  const place = ['listen', 'tls'];
  const wrong = checkCertificates(document, place, { cert, key, ca }, 'client_ca');
  if (auth === undefined || ca !== undefined || document.damaged(place)) return wrong;
  return [...wrong, diagnostic(document, 'error', [...place, 'client_auth'], 'is of no use without client_ca')];
}

function checkStoreTls(document: LocatedDocument<ConfigDocument>): Diagnostic[] {
  const { tls } = document.value.store;
  if (tls === undefined) return [];
  const place = ['store', 'tls'];
  const halves = (['cert', 'key'] as const).filter((part) => tls[part] !== undefined);
  const [half] = halves.length === 1 ? halves : [];
  const wrong = checkCertificates(document, place, tls, 'ca');
  if (half === undefined || document.damaged(place)) return wrong;
  return [...wrong, diagnostic(document, 'error', [...place, half], 'cert and key are needed together')];
}

function checkAssertions(document: LocatedDocument<ConfigDocument>): Diagnostic[] {
  if (document.value.assertion !== undefined || document.damaged(['assertion'])) return [];
  const asking = Object.entries(document.value.upstreams).filter(([, { assertion }]) => assertion);
  const missing = `a key is needed to sign with; write assertion: { keys: { file: PATH } } (${MAKE_A_KEY})`;
  return asking.map(([name]) => diagnostic(document, 'error', ['upstreams', name, 'assertion'], missing));
}

function checkOwnPrefix(document: LocatedDocument<ConfigDocument>): Diagnostic[] {
  if (document.damaged(['tokens', 'prefix'])) return [];
  return document.value.introspection.flatMap(({ match }, index) => {
    const conflict = ownPrefixConflict(match.prefix, document.value.tokens.prefix);
    if (conflict === null) return [];
    const place = diagnostic(document, 'error', ['introspection', index, 'match', 'prefix'], '');
    return [{ ...place, message: `introspection[${index}].match.prefix: ${conflict}` }];
  });
}

interface CertificateFiles {
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly ca?: string | undefined;
}

/** The files have to be there, to be PEM, and to belong together: better said now than at the first handshake. */
function checkCertificates(
  document: LocatedDocument<ConfigDocument>,
  place: DocumentPath,
  files: CertificateFiles,
  caKey: string,
): Diagnostic[] {
  const wrong: Diagnostic[] = [];
  const complain = (part: keyof CertificateFiles, complaint: string): void => {
    const path = [...place, part === 'ca' ? caKey : part];
    wrong.push(diagnostic(document, 'error', path, `${files[part]} ${complaint}`));
  };
  const read = (part: keyof CertificateFiles): string | null => {
    const file = files[part];
    if (file === undefined) return null;
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      complain(part, `cannot be read (${errorCode(error)})`);
      return null;
    }
  };
  const cert = read('cert');
  const key = read('key');
  const ca = read('ca');
  const usable = (part: keyof CertificateFiles, use: () => unknown, complaint: string): void => {
    try {
      use();
    } catch {
      complain(part, complaint);
    }
  };
  if (ca !== null) usable('ca', () => certificatesIn(ca), 'holds no certificate in PEM');
  if (cert !== null) usable('cert', () => certificatesIn(cert), 'holds no certificate in PEM');
  if (key !== null) usable('key', () => createPrivateKey(key), 'holds no private key in PEM without a passphrase');
  if (cert !== null && key !== null && wrong.length === 0) {
    usable('key', () => createSecureContext({ cert, key }), 'does not belong to cert');
  }
  return wrong;
}

function warnings(document: LocatedDocument<ConfigDocument>): Diagnostic[] {
  const { store, audit } = document.value;
  const found: Diagnostic[] = [];
  if (store.on_unavailable === 'serve_cached') {
    const message =
      'serve_cached weakens revocation: while the store is lost, a revoked token may be let in for as long as max_stale';
    found.push(diagnostic(document, 'warning', ['store', 'on_unavailable'], message));
  }
  if (audit.sinks.length === 0 && !document.damaged(['audit', 'sinks'])) {
    found.push(diagnostic(document, 'warning', ['audit', 'sinks'], 'without a sink no audit event is kept'));
  }
  return found;
}

function resolved(document: ConfigDocument, file: string): Config {
  return {
    file,
    environment: document.environment,
    listen: listen(document.listen),
    workers: document.workers,
    admin: document.admin,
    store: store(document.store, dirname(file)),
    tokens: {
      prefix: document.tokens.prefix,
      accept: document.tokens.accept.map(({ header, scheme }) => ({ header, scheme: scheme ?? null })),
      expiryWarningMs: document.tokens.expiry_warning,
      pepper: document.tokens.pepper ?? null,
      dpop: {
        nonce: document.tokens.dpop.nonce,
        proofLifetimeMs: document.tokens.dpop.proof_lifetime,
        clockSkewMs: document.tokens.dpop.clock_skew,
      },
    },
    upstreams: new Map(Object.entries(document.upstreams).map(([name, each]) => [name, upstream(name, each)])),
    issuers: issuers(document.issuers),
    introspection: document.introspection.map(introspection),
    resource: resource(document.resource),
    assertion: assertion(document),
    policies: document.policies,
    audit: { sinks: auditSinks(document.audit.sinks), onFull: document.audit.on_full },
    log: document.log,
  };
}

function listen(section: ConfigDocument['listen']): ListenConfig {
  const { limits, tls } = section;
  return {
    host: section.host,
    port: section.port,
    tls:
      tls === undefined
        ? null
        : { cert: tls.cert, key: tls.key, clientCa: tls.client_ca ?? null, clientAuth: tls.client_auth ?? 'require' },
    trustedProxies: section.trusted_proxies,
    limits: {
      headerBytes: limits.header_bytes,
      headers: limits.headers,
      bodyBytes: limits.body_bytes,
      mcpMessageBytes: limits.mcp_message_bytes,
      // The headers are a part of the request, so their time is never the longer one.
      headerTimeoutMs: Math.min(limits.header_timeout, limits.request_timeout),
      requestTimeoutMs: limits.request_timeout,
      idleTimeoutMs: limits.idle_timeout,
      connections: limits.connections,
    },
  };
}

function store(section: ConfigDocument['store'], folder: string): StoreConfig {
  const common = {
    leaseMs: section.lease,
    onUnavailable: section.on_unavailable,
    maxStaleMs: section.max_stale,
  };
  if (section.kind !== 'redis') return { ...common, kind: 'embedded', path: section.path ?? resolve(folder, 'data') };
  const { tls, wait_replicas: replicas = 0, wait_timeout: timeoutMs = DEFAULT_WAIT_MS } = section;
  return {
    ...common,
    kind: 'redis',
    keyPrefix: section.key_prefix ?? 'portcullis',
    connection: connection(section),
    tls: tls === undefined ? null : { ca: tls.ca ?? null, cert: tls.cert ?? null, key: tls.key ?? null },
    wait: replicas === 0 ? null : { replicas, timeoutMs },
  };
}

/** The schema has made sure that exactly one of the three ways is there. */
function connection(section: ConfigDocument['store']): RedisConnection {
  const password = section.password ?? null;
  const username = section.username ?? null;
  if (section.sentinels !== undefined && section.name !== undefined) {
    return { kind: 'sentinel', sentinels: section.sentinels, name: section.name, username, password };
  }
  if (section.cluster !== undefined) return { kind: 'cluster', nodes: section.cluster, username, password };
  if (section.url === undefined) throw new TypeError('a Redis store without a way to reach it passed the schema');
  if (password === null) return { kind: 'standalone', url: section.url };
  const url = new URL(section.url.reveal());
  url.password = encodeURIComponent(password.reveal());
  return { kind: 'standalone', url: new Secret(url.href) };
}

function upstream(name: string, section: ConfigDocument['upstreams'][string]): UpstreamConfig {
  return {
    name,
    url: section.url,
    preserveHost: section.preserve_host,
    connectTimeoutMs: section.connect_timeout,
    responseTimeoutMs: section.response_timeout,
    credential: section.credential ?? null,
    assertion: section.assertion,
  };
}

function assertion({ assertion: section, environment }: ConfigDocument): Config['assertion'] {
  if (section === undefined) return null;
  const { issuer = `urn:portcullis:${environment}`, keys, lead = DEFAULT_LEAD_MS } = section;
  return { issuer, keys, leadMs: lead };
}

function introspection(section: ConfigDocument['introspection'][number]): IntrospectionConfig {
  const { audience } = section;
  return {
    prefix: section.match.prefix,
    endpoint: section.endpoint,
    clientId: section.client_id,
    clientSecret: section.client_secret,
    audiences: audience === undefined ? null : [audience].flat(),
    requireTokenType: section.require_token_type,
    cacheMs: section.cache,
    negativeCacheMs: section.negative_cache,
    timeoutMs: section.timeout,
  };
}

function auditSinks(sinks: ConfigDocument['audit']['sinks']): Config['audit']['sinks'] {
  return sinks.map((sink) => {
    if ('path' in sink && sink.kind === 'file') return { kind: 'file', path: String(sink.path) };
    if (sink.kind === 'stdout') return { kind: 'stdout' };
    throw new TypeError('an audit sink of a later version passed the schema');
  });
}
