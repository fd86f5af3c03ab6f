import { Cluster, type CommonRedisOptions, Redis } from 'ioredis';
import { Fault } from '../../model/fault.ts';
import {
  parseRedisAddress,
  type RedisAddress,
  type RedisStoreConnection,
  type RedisTls,
  showAddress,
} from './connection-options.ts';
import { SCRIPTS } from './scripts.ts';

/** A client that has not connected yet, with what its errors may and may not say. */
export interface RedisClient {
  readonly client: Redis | Cluster;
  /** Where the store is, for people; without credentials. */
  readonly place: string;
  /** What must never appear in an error. */
  readonly secrets: readonly string[];
}

/** Shortest and longest pause between two attempts to connect, milliseconds. */
const RECONNECT_MS = { first: 50, most: 1000 } as const;

/** A replica that was a primary before a failover is left at most so often, milliseconds. */
const LEAVE_REPLICA_MS = 5000;

/** Makes the client for any of the three ways to run Redis. Throws a Fault for an address that cannot be read. */
export function createClient(connection: RedisStoreConnection, timeoutMs: number): RedisClient {
  switch (connection.kind) {
    case 'standalone':
      return standalone(connection, timeoutMs);
    case 'sentinel':
      return sentinel(connection, timeoutMs);
    case 'cluster':
      return cluster(connection, timeoutMs);
  }
}

function standalone(
  { url, tls }: Extract<RedisStoreConnection, { kind: 'standalone' }>,
  timeoutMs: number,
): RedisClient {
  const address = parseRedisAddress(url, 'store.url', 6379);
  // Certificates that nobody looks at are a mistake: somebody believes that this connection is encrypted.
  if (tls !== undefined && !address.tls) throw new Fault('internal', 'store.url: TLS needs an address with rediss://');
  const client = new Redis({
    ...commonOptions(timeoutMs),
    ...credentials(address.username, address.password),
    host: address.host,
    port: address.port,
    db: address.database,
    ...(address.tls ? { tls: tls ?? {} } : {}),
    retryStrategy: pause,
    scripts: SCRIPTS,
  });
  return { client, place: `Redis at ${showAddress(address)}`, secrets: secretsOf([address.password]) };
}

function sentinel(connection: Extract<RedisStoreConnection, { kind: 'sentinel' }>, timeoutMs: number): RedisClient {
  const addresses = parseAddresses(connection.sentinels, 'store.sentinels', 26379);
  const [first] = addresses;
  const tls = encryption(first, connection.tls);
  const client = new Redis({
    ...commonOptions(timeoutMs),
    ...credentials(connection.username ?? null, connection.password),
    sentinels: addresses.map(({ host, port }) => ({ host, port })),
    name: connection.name,
    ...(first.username === null ? {} : { sentinelUsername: first.username }),
    ...(first.password === null ? {} : { sentinelPassword: first.password }),
    ...(tls === null ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
    sentinelCommandTimeout: timeoutMs,
    // Hears of a failover from the sentinels instead of waiting for the old primary to fall silent.
    failoverDetector: true,
    retryStrategy: pause,
    sentinelRetryStrategy: pause,
    scripts: SCRIPTS,
  });
  const place = `Redis "${connection.name}" behind the sentinels ${addresses.map(showAddress).join(', ')}`;
  return { client, place, secrets: secretsOf([connection.password, ...addresses.map((each) => each.password)]) };
}

function cluster(connection: Extract<RedisStoreConnection, { kind: 'cluster' }>, timeoutMs: number): RedisClient {
  const addresses = parseAddresses(connection.nodes, 'store.cluster', 6379);
  const [first] = addresses;
  if (addresses.some(({ database }) => database !== 0)) {
    throw new Fault('internal', 'store.cluster: Redis Cluster has only database 0');
  }
  const password = connection.password ?? first.password;
  const tls = encryption(first, connection.tls);
  const client = new Cluster(
    addresses.map(({ host, port }) => ({ host, port })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // Reads decide about access, so they never go to a replica that may lag behind.
      scaleReads: 'master',
      clusterRetryStrategy: pause,
      slotsRefreshTimeout: timeoutMs,
      redisOptions: {
        ...commonOptions(timeoutMs),
        ...credentials(connection.username ?? first.username, password),
        ...(tls === null ? {} : { tls }),
      },
      scripts: SCRIPTS,
    },
  );
  const place = `the Redis cluster of ${addresses.map(showAddress).join(', ')}`;
  return { client, place, secrets: secretsOf([password, ...addresses.map((each) => each.password)]) };
}

/** Null: plain. */
function encryption(first: RedisAddress, tls: RedisTls | undefined): RedisTls | null {
  return tls ?? (first.tls ? {} : null);
}

function commonOptions(timeoutMs: number): CommonRedisOptions & { disconnectTimeout: number } {
  return {
    lazyConnect: true,
    protocol: 3,
    connectionName: 'portcullis',
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    // A server that takes commands and says nothing (stopped, cut off) is given up with its connection.
    socketTimeout: timeoutMs,
    disconnectTimeout: timeoutMs,
    // What cannot be sent now fails now: a request waits for a time limit at most, never for a reconnection …
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    // … and a write whose caller was told that it failed is not sent again behind the caller's back.
    autoResendUnfulfilledCommands: false,
    reconnectOnError: leaveReplica(),
  };
}

/** After a failover a connection may end at what is a replica now; a new one finds the primary. */
function leaveReplica(): (error: Error) => boolean {
  let last = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (!error.message.startsWith('READONLY') || performance.now() - last < LEAVE_REPLICA_MS) return false;
    last = performance.now();
    return true;
  };
}

/** Doubles up to the longest pause, with jitter so that many replicas do not come back in one moment. */
function pause(attempt: number): number {
  const longest = Math.min(RECONNECT_MS.first * 2 ** Math.min(attempt - 1, 10), RECONNECT_MS.most);
  return Math.round(longest * (0.5 + Math.random() / 2));
}

function parseAddresses(texts: readonly string[], what: string, port: number): [RedisAddress, ...RedisAddress[]] {
  const [first, ...others] = texts.map((text, index) => parseRedisAddress(text, `${what}[${index}]`, port));
  if (first === undefined) throw new Fault('internal', `${what}: at least one address is needed`);
  return [first, ...others];
}

function credentials(username: string | null, password: string | null): { username?: string; password?: string } {
  return { ...(username === null ? {} : { username }), ...(password === null ? {} : { password }) };
}

function secretsOf(passwords: readonly (string | null)[]): string[] {
  return passwords.filter((password) => password !== null);
}
