import { z } from 'zod';
import { err, ok, type Result } from '../base/result.ts';
import { Secret } from '../base/secret.ts';
import { INLINE_SECRET, readSecret, referenceShape, type SecretSource, secretReference } from './secret-reference.ts';
import { count, hostAndPort, path, timeout } from './values.ts';

const EMBEDDED_KEYS = ['path'] as const;
const REDIS_KEYS = [
  'url',
  'sentinels',
  'name',
  'cluster',
  'username',
  'password',
  'tls',
  'key_prefix',
  'wait_replicas',
  'wait_timeout',
] as const;

/** Five renewals and the margin of a tenth have to fit into a lease, beside a pause of the garbage collector. */
const SHORTEST_LEASE_MS = 100;

const LEASE_TOO_SHORT =
  'must be at least 100ms: a lease is renewed five times while it lasts, and a shorter one would be over before its renewals arrive';

const ON_UNAVAILABLE = 'When the store is lost: deny, or serve_cached for at most max_stale (weakens revocation).';

/** `store`: what belongs to one kind only has no default here, so that its presence with the other kind is seen. */
export function storeSchema(source: SecretSource) {
  return z
    .strictObject({
      kind: z.enum(['embedded', 'redis']).optional().meta({
        description: 'embedded: a database file of this process. redis: shared by many.',
        default: 'embedded',
      }),
      path: path(source.folder)
        .optional()
        .meta({ description: 'embedded: folder of the database; ./data where it is left out.' }),
      url: redisUrl(source).optional().meta({ description: 'redis: one server, redis:// or rediss://.' }),
      sentinels: z
        .array(hostAndPort())
        .min(1, { error: 'at least one sentinel is needed' })
        .optional()
        .meta({ description: 'redis: sentinels as host:port; needs name.' }),
      name: z.string().min(1).optional().meta({ description: 'redis: name of the master that the sentinels watch.' }),
      cluster: z
        .array(hostAndPort())
        .min(1, { error: 'at least one node is needed' })
        .optional()
        .meta({ description: 'redis: nodes of a cluster as host:port.' }),
      username: z
        .string({ error: 'expected the name of an ACL user' })
        .min(1, { error: 'expected the name of an ACL user' })
        .optional()
        .meta({ description: 'redis: ACL user, with sentinels or cluster; beside a url it stands in the url.' }),
      password: secretReference(source).optional().meta({ description: 'redis: password of the servers.' }),
      key_prefix: z
        .string()
        .regex(/^[A-Za-z0-9:._-]{1,64}$/, { error: 'expected 1 to 64 of A-Z, a-z, 0-9 and : . _ -' })
        .optional()
        .meta({ description: 'redis: what every key begins with; portcullis where it is left out.' }),
      tls: z
        .strictObject({
          ca: path(source.folder).optional().meta({
            description: 'Certificates of the authorities that count, PEM; without it those of the system.',
          }),
          cert: path(source.folder).optional().meta({ description: 'Certificate of the gateway for Redis, PEM.' }),
          key: path(source.folder).optional().meta({ description: 'Private key of cert, PEM.' }),
        })
        .optional()
        .meta({ description: 'redis: certificates for TLS; turns TLS on with sentinels and cluster.' }),
      wait_replicas: count(0, 100).optional().meta({
        description: 'redis: how many replicas have to hold a change before it counts (WAIT); 0 where it is left out.',
      }),
      wait_timeout: timeout().optional().meta({
        description: 'redis: how long wait_replicas may take; 500ms where it is left out.',
      }),
      lease: timeout()
        .refine((milliseconds) => milliseconds >= SHORTEST_LEASE_MS, { error: LEASE_TOO_SHORT })
        .prefault('2s')
        .meta({ description: 'Upper bound for a revocation to take hold at a replica that is cut off.' }),
      on_unavailable: z.enum(['deny', 'serve_cached']).prefault('deny').meta({ description: ON_UNAVAILABLE }),
      max_stale: timeout().prefault('30s').meta({ description: 'serve_cached: how old an answer may be.' }),
    })
    .superRefine(checkKind, {
      when: ({ value }) => typeof value === 'object' && value !== null && !Array.isArray(value),
    })
    .prefault({})
    .meta({
      description: 'Where tokens are kept.',
      if: { properties: { kind: { const: 'redis' } }, required: ['kind'] },
      // biome-ignore lint/suspicious/noThenProperty: a JSON Schema keyword
      then: { properties: Object.fromEntries(EMBEDDED_KEYS.map((key) => [key, false])) },
      else: { properties: Object.fromEntries(REDIS_KEYS.map((key) => [key, false])) },
    });
}

type StoreKeys = Readonly<Partial<Record<(typeof EMBEDDED_KEYS | typeof REDIS_KEYS)[number], unknown>>> & {
  readonly kind?: unknown;
};

type Complain = (path: readonly string[], message: string) => void;

/**
 * What is missing is said of the store as a whole, so that it stays unsaid where the key is there but wrong in itself:
 * parsing is repeated without wrong parts to find more errors (see base/yaml-document.ts).
 */
function checkKind(store: StoreKeys, context: z.RefinementCtx): void {
  const complain: Complain = (path, message) => context.addIssue({ code: 'custom', path: [...path], message });
  const redisKeys = REDIS_KEYS.filter((key) => key in store);
  if (store.kind === 'redis') {
    if ('path' in store) complain(['path'], 'belongs to kind: embedded, and this store is kind: redis');
    checkRedis(store, complain);
  } else if (store.kind === 'embedded') {
    for (const key of redisKeys) complain([key], 'belongs to kind: redis, and this store is kind: embedded');
  } else if (store.kind === undefined && redisKeys.length > 0) {
    complain([], `${redisKeys.join(', ')} needs kind: redis; without kind the store is embedded`);
  }
}

function checkRedis(store: StoreKeys, complain: Complain): void {
  const ways = (['url', 'sentinels', 'cluster'] as const).filter((key) => key in store);
  const wanted = 'exactly one of url, sentinels (with name) and cluster';
  if (ways.length === 0) complain([], `kind: redis needs ${wanted}`);
  for (const key of ways.slice(1)) complain([key], `cannot stand beside ${ways[0]}: ${wanted}`);
  if ('sentinels' in store && !('name' in store)) complain([], 'sentinels need name, the master that they watch');
  if ('name' in store && ways.length > 0 && !('sentinels' in store))
    complain([], 'name has a meaning only with sentinels');
  const url = store.url instanceof Secret ? URL.parse(store.url.reveal()) : null;
  if (url !== null && url.password !== '' && 'password' in store) {
    complain(['password'], 'the url holds a password already');
  }
  if ('username' in store && 'url' in store) complain(['username'], 'the user stands in the url: redis://user@host');
  if ('wait_timeout' in store && !store.wait_replicas) {
    complain(['wait_timeout'], 'has a meaning only with wait_replicas');
  }
  if (store.tls !== undefined && url !== null && url.protocol !== 'rediss:') {
    complain(['tls'], 'needs a url that begins with rediss://');
  }
}

/** A URL without a password in plain text, or a reference to one that may hold it. */
function redisUrl(source: SecretSource) {
  const wanted = 'expected a URL such as redis://127.0.0.1:6379/0, { env: NAME } or { file: PATH }';
  return z.union([referenceShape(wanted), z.string({ error: wanted })]).transform((url, context): Secret => {
    const inline = typeof url === 'string';
    const found = inline ? ok(url) : readSecret(url, source);
    const checked = found.ok ? checkRedisUrl(found.value, inline) : found;
    if (checked.ok) return new Secret(checked.value);
    context.addIssue({ code: 'custom', message: checked.error });
    return z.NEVER;
  });
}

/** Errors never repeat the text: it may hold a password. */
function checkRedisUrl(text: string, inline: boolean): Result<string, string> {
  const url = /^rediss?:\/\//.test(text) ? URL.parse(text) : null;
  if (url === null || url.hostname === '') {
    return err('expected a URL such as redis://127.0.0.1:6379/0 (rediss:// for TLS)');
  }
  const hidden = inline && (url.password !== '' || url.searchParams.has('password'));
  if (hidden) return err(`the URL holds a password: ${INLINE_SECRET}`);
  if (!/^(\/\d{0,5})?$/.test(url.pathname) || url.search !== '' || url.hash !== '') {
    return err('after the host and port only the number of the database may stand, such as /0');
  }
  return ok(text);
}
