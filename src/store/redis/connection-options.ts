import { Fault } from '../../model/fault.ts';

/** PEM texts. Without `ca` the system's authorities count; `cert` and `key` are shown to servers that ask. */
export interface RedisTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** How to reach Redis. Passwords are plain here and go no further than the client. */
export type RedisStoreConnection =
  | {
      readonly kind: 'standalone';
      readonly url: string;
      /** Only with a `rediss:` address. */
      readonly tls?: RedisTls;
    }
  | {
      readonly kind: 'sentinel';
      readonly sentinels: readonly string[];
      readonly name: string;
      /** Of the data servers. A sentinel's own credentials stand in its address. */
      readonly password: string | null;
      /** ACL user of the data servers. */
      readonly username?: string;
      /** TLS to data servers and sentinels. */
      readonly tls?: RedisTls;
    }
  | {
      readonly kind: 'cluster';
      readonly nodes: readonly string[];
      readonly password: string | null;
      readonly username?: string;
      readonly tls?: RedisTls;
    };

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  readonly username: string | null;
  readonly password: string | null;
  /** Logical database; 0 when the address names none. */
  readonly database: number;
  readonly tls: boolean;
}

const SCHEMES: Readonly<Record<string, boolean>> = { 'redis:': false, 'rediss:': true };

/**
 * `redis[s]://[user[:password]@]host[:port][/database]`, or just `host[:port]`. Throws a Fault that names `what` and
 * never the text itself: it may hold a password.
 */
export function parseRedisAddress(text: string, what: string, defaultPort: number): RedisAddress {
  const wrong = (why: string): Fault =>
    new Fault('internal', `${what}: ${why}; expected redis://[user:password@]host[:port][/database] or rediss://…`);
  let url: URL;
  try {
    url = new URL(text.includes('://') ? text : `redis://${text}`);
  } catch {
    throw wrong('not a URL');
  }
  const tls = SCHEMES[url.protocol];
  if (tls === undefined) throw wrong(`unknown scheme ${url.protocol}//`);
  if (url.hostname === '') throw wrong('no host');
  if (url.search !== '' || url.hash !== '') throw wrong('nothing may follow the database');
  const database = /^\/?(\d{0,5})$/.exec(url.pathname)?.[1];
  if (database === undefined) throw wrong('the database is a number');
  const username = percentDecoded(url.username);
  const password = percentDecoded(url.password);
  if (username === undefined || password === undefined) throw wrong('user or password is not well percent-encoded');
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? defaultPort : Number(url.port),
    username: username === '' ? null : username,
    password: password === '' ? null : password,
    database: Number(database),
    tls,
  };
}

/** `host:port`, for people. */
export function showAddress({ host, port }: RedisAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function percentDecoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
