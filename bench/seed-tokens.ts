import { loadConfig } from '../src/config/load.ts';
import { openStore } from '../src/main/open-store.ts';
import type { TokenRecord } from '../src/model/token-record.ts';
import { ChangeLogTable } from '../src/store/sqlite/change-log-table.ts';
import { openDatabase } from '../src/store/sqlite/open-database.ts';
import { TokenTable } from '../src/store/sqlite/token-table.ts';
import { transact } from '../src/store/sqlite/transact.ts';
import { UsageTable } from '../src/store/sqlite/usage-table.ts';
import { digestToken, mintToken } from '../src/token/opaque-format.ts';
import { ENVIRONMENT } from './gateway.ts';

export interface SeededToken {
  readonly token: string;
  readonly record: TokenRecord;
}

const DAY_MS = 86_400_000;

/** Calls on the way to Redis at once. */
const AT_ONCE = 200;

/** Tokens as the gateway would issue them, with `items:read`. */
export function makeTokens(many: number, now: number): SeededToken[] {
  return Array.from({ length: many }, (_, i) => {
    const { id, token } = mintToken({ prefix: 'pct', environment: ENVIRONMENT });
    return { token, record: recordOf(id, token, i, now) };
  });
}

function recordOf(id: string, token: string, i: number, now: number): TokenRecord {
  return {
    id,
    name: `seeded ${i}`,
    owner: `team-${i % 100}`,
    class: 'service',
    environment: ENVIRONMENT,
    subject: `client-${i}`,
    scopes: ['items:read'],
    roles: [],
    claims: {},
    ip: [],
    created_at: now - i,
    created_by: 'bench',
    not_before: null,
    expires_at: now + 30 * DAY_MS,
    generation: 1,
    rotated_at: null,
    grace_until: null,
    rotate_after: null,
    revoked_at: null,
    revoked_by: null,
    revoke_reason: null,
    digest: digestToken(token, null),
    superseded: [],
  };
}

/** Puts them into the store of a configuration before a gateway runs on it: through the store's own code, in bulk. */
export async function seedTokens(configFile: string, tokens: readonly SeededToken[]): Promise<void> {
  const { config } = await loadConfig(configFile, process.env);
  if (config === null) throw new Error(`${configFile} is not a configuration`);
  if (config.store.kind === 'embedded') {
    seedDatabase(config.store.path, tokens);
    return;
  }
  const store = await openStore(config.store);
  try {
    await store.ping();
    for (let start = 0; start < tokens.length; start += AT_ONCE) {
      await Promise.all(tokens.slice(start, start + AT_ONCE).map(({ record }) => store.create(record)));
    }
  } finally {
    await store.close();
  }
}

/** One transaction: a commit for each would wait for the disk each time. */
function seedDatabase(folder: string, tokens: readonly SeededToken[]): void {
  const { durable, relaxed, registry } = openDatabase(folder);
  try {
    const table = new TokenTable(durable, new UsageTable(relaxed), new ChangeLogTable(durable, registry));
    transact(durable, () => {
      for (const { record } of tokens) table.create(record);
    });
  } finally {
    for (const database of [registry, relaxed, durable]) database.close();
  }
}
