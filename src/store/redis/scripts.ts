import type { ClientContext, Result } from 'ioredis';
import { KEPT_BEYOND_END_MS } from '../revocation-marks.ts';

/*
 * A token is one hash, so each change of it is one script over one key, and atomic:
 *   record   the record's JSON          version   grows with each replacement
 *   revoked  1 once it is revoked       index     its member of the index
 *   used_at, used_ip, uses              the last use and the number of uses
 *   at:<generation>, ip:<generation>    the last use of that generation
 *
 * A key lives 30 days longer than its token, and never less than 30 days from its last change, by Redis's clock.
 */
const KEEP_MS = 30 * 24 * 3_600_000;

const EXPIRE = `
  local function expire(key, expires_at)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('PEXPIREAT', key, string.format('%.0f', math.max(now, tonumber(expires_at)) + ${KEEP_MS}))
  end
`;

/** record, revoked (0 or 1), expires_at, index member → 1 when it was created, else 0 and the member that stands there */
const CREATE = `${EXPIRE}
  if redis.call('EXISTS', KEYS[1]) == 1 then return { 0, redis.call('HGET', KEYS[1], 'index') } end
  redis.call('HSET', KEYS[1], 'record', ARGV[1], 'version', '1', 'revoked', ARGV[2], 'index', ARGV[4])
  expire(KEYS[1], ARGV[3])
  return { 1 }
`;

/** Changes nothing that anybody reads, and is a write all the same: WAIT speaks of the last write of its connection. */
export const CONFIRM = `
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  return redis.call('HINCRBY', KEYS[1], 'uses', 0)
`;

const REPLACED = `${EXPIRE}
  local function replaced(key, version, record, revoked, expires_at, oldest)
    local stands = redis.call('HMGET', key, 'version', 'revoked')
    if stands[1] ~= version then return false end
    if stands[2] ~= '0' and revoked ~= '1' then return false end
    redis.call('HSET', key, 'record', record, 'revoked', revoked)
    redis.call('HINCRBY', key, 'version', 1)
    expire(key, expires_at)
    local forgotten = string.format('%.0f', tonumber(oldest) - 1)
    redis.call('HDEL', key, 'at:' .. forgotten, 'ip:' .. forgotten)
    return true
  end
`;

/** version, record, revoked (0 or 1), expires_at, oldest generation whose use is kept → 1 when it was replaced */
const REPLACE = `${REPLACED}
  return replaced(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]) and 1 or 0
`;

/** → the index member of what was removed, or nothing; a revoked record stays */
const WITHDRAW = `
  local stands = redis.call('HMGET', KEYS[1], 'revoked', 'index')
  if stands[1] ~= '0' then return '' end
  redis.call('DEL', KEYS[1])
  return stands[2] or ''
`;

/** at, ip, count, generation */
const RECORD_USE = `
  if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 0 end
  redis.call('HINCRBY', KEYS[1], 'uses', ARGV[3])
  local function newest(at_field, ip_field)
    local at = redis.call('HGET', KEYS[1], at_field)
    if at and tonumber(at) > tonumber(ARGV[1]) then return end
    redis.call('HSET', KEYS[1], at_field, ARGV[1], ip_field, ARGV[2])
  end
  newest('used_at', 'used_ip')
  newest('at:' .. ARGV[4], 'ip:' .. ARGV[4])
  return 1
`;

/** least age in milliseconds, then members of the index whose record is missing: those that are old enough go */
const PRUNE_INDEX = `
  local time = redis.call('TIME')
  local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1])
  local removed = 0
  for i = 2, #ARGV do
    local added = tonumber(string.match(ARGV[i], ':(%d+)$'))
    if added and added < oldest then removed = removed + redis.call('ZREM', KEYS[1], ARGV[i]) end
  end
  return removed
`;

/** now, ends, fingerprint → nothing when the key is claimed now, else what stands there: fingerprint and answer */
const CLAIM = `
  local stands = redis.call('HMGET', KEYS[1], 'ends', 'fingerprint', 'value')
  if stands[1] and tonumber(stands[1]) > tonumber(ARGV[1]) then return { stands[2], stands[3] } end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'ends', ARGV[2], 'fingerprint', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) - tonumber(ARGV[1])))
  return {}
`;

/** now, ends, fingerprint, answer: an answer that stands already is kept, for it is the one that was given */
const REMEMBER = `
  local stands = redis.call('HMGET', KEYS[1], 'ends', 'value')
  if stands[2] and tonumber(stands[1]) > tonumber(ARGV[1]) then return 0 end
  redis.call('HSET', KEYS[1], 'ends', ARGV[2], 'fingerprint', ARGV[3], 'value', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) - tonumber(ARGV[1])))
  return 1
`;

const RELEASE = `
  if redis.call('HEXISTS', KEYS[1], 'value') == 1 then return 0 end
  return redis.call('DEL', KEYS[1])
`;

/** seq, hash, time: \`seq\` only grows, so a chain that was cut off cannot overwrite what it had reached */
const SAVE_CHECKPOINT = `
  local seq = redis.call('HGET', KEYS[1], 'seq')
  if seq and tonumber(seq) > tonumber(ARGV[1]) then return 0 end
  redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'hash', ARGV[2], 'time', ARGV[3])
  return 1
`;

/*
 * The log is a stream whose ids are `<number>-<nonce>`; numbers grow by one, nonces are random. Its first entry stands
 * for the log itself: one that was emptied gets another. The replicas are a hash: `n:<id>` renewals, `a:<id>` the
 * position that the replica has applied, `c:<id>` how many streams it closed for the newest ones.
 */
const NEWEST = `
  local function newest(log)
    local found = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
    return found[1] and found[1][1]
  end
  local function number(position) return tonumber(string.match(position, '^%d+')) end
`;

/** The publication may fail: it is only a hint. */
const APPENDED = `${NEWEST}
  local function appended(log, nonce, kind, id, keep, channel)
    local last = newest(log)
    local position = string.format('%.0f', (last and number(last) or 0) + 1) .. '-' .. nonce
    redis.call('XADD', log, 'MAXLEN', '~', keep, position, 'kind', kind, 'id', id)
    redis.pcall('PUBLISH', channel, position .. ' ' .. kind .. ' ' .. id)
    return position
  end
`;

/** nonce, kind, token id, entries to keep, channel → position */
const APPEND_CHANGE = `${APPENDED}
  return appended(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
`;

/** Marks that have ended are swept so many at a time. */
const SWEPT_MARKS = 100;

/**
 * The text that stands there or nothing, the new one, its old and its new member of the index of ends, the most marks
 * that there may be, then the arguments of APPEND_CHANGE, whose id is the mark's → put and the position of its entry, or
 * nothing where the text is the same; stands and another text; or full
 */
const PUT_MARK = `${APPENDED}
  local marks, ends, id = KEYS[1], KEYS[2], ARGV[8]
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local function sweep(ended)
    local before = string.format('(%016.0f:', ended)
    for _, member in ipairs(redis.call('ZREVRANGEBYLEX', ends, before, '-', 'LIMIT', 0, ${SWEPT_MARKS})) do
      redis.call('HDEL', marks, string.sub(member, 18))
      redis.call('ZREM', ends, member)
    end
  end
  sweep(now - ${KEPT_BEYOND_END_MS})
  local stands = redis.call('HGET', marks, id) or ''
  if stands ~= ARGV[1] then return { 'stands', stands } end
  local function full() return stands == '' and redis.call('HLEN', marks) >= tonumber(ARGV[5]) end
  if full() then sweep(now) end
  if full() then return { 'full', '' } end
  redis.call('HSET', marks, id, ARGV[2])
  if ARGV[3] ~= ARGV[4] then redis.call('ZREM', ends, ARGV[3]) end
  redis.call('ZADD', ends, 0, ARGV[4])
  if stands == ARGV[2] then return { 'put', '' } end
  return { 'put', appended(KEYS[3], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]) }
`;

/** The arguments of REPLACE, then those of APPEND_CHANGE → position, or nothing when it was not replaced */
const REPLACE_AND_APPEND = `${REPLACED}${APPENDED}
  if not replaced(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]) then return '' end
  return appended(KEYS[2], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10])
`;

/**
 * replica, applied or '', closed, nonce, number of entries, channel, then position, kind and id of each entry that it
 * has applied beyond → newest position, number of replicas, broken, entries, how far its report counts
 */
const RENEW_REPLICA = `${NEWEST}
  local log, registry, replica = KEYS[1], KEYS[2], ARGV[1]
  if not newest(log) then redis.call('XADD', log, '1-' .. ARGV[4], 'kind', 'changed', 'id', '') end
  redis.call('HINCRBY', registry, 'n:' .. replica, 1)
  local before = redis.call('HGET', registry, 'a:' .. replica) or ''
  local function report(reached)
    redis.call('HSET', registry, 'a:' .. replica, reached, 'c:' .. replica, ARGV[3])
    return redis.call('HLEN', registry) / 3
  end
  local entries = ARGV[2] ~= '' and redis.call('XRANGE', log, ARGV[2], '+', 'COUNT', ARGV[5]) or {}
  -- A position of a history that this log does not know says nothing about the entries that it will hold.
  if not entries[1] or entries[1][1] ~= ARGV[2] then return { newest(log), report(''), 1, {}, '' } end
  table.remove(entries, 1)
  local reached = ARGV[2]
  -- What it has heard of counts only where the log says the same.
  for i = 7, #ARGV, 3 do
    local entry = entries[1]
    if not entry or entry[1] ~= ARGV[i] or entry[2][2] ~= ARGV[i + 1] or entry[2][4] ~= ARGV[i + 2] then break end
    reached = ARGV[i]
    table.remove(entries, 1)
  end
  local replicas = report(reached)
  if before ~= reached then
    local slowest = number(reached)
    local fields = redis.call('HGETALL', registry)
    for i = 1, #fields, 2 do
      local applied = string.sub(fields[i], 1, 2) == 'a:' and fields[i + 1]
      if applied then slowest = math.min(slowest, applied == '' and 0 or number(applied)) end
    end
    if before == '' or number(before) < slowest then
      redis.pcall('PUBLISH', ARGV[6], string.format('%.0f', slowest))
    end
  end
  return { newest(log), replicas, 0, entries, reached }
`;

/** positions → those that are not in the log, and the hash of the replicas */
const MUSTER_REPLICAS = `
  local missing = {}
  for _, position in ipairs(ARGV) do
    if #redis.call('XRANGE', KEYS[1], position, position) == 0 then table.insert(missing, position) end
  end
  return { missing, redis.call('HGETALL', KEYS[2]) }
`;

/** replica, renewals → 1 when it was there and had renewed so often; without a number it goes in any case */
const FORGET_REPLICA = `
  if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'n:' .. ARGV[1]) ~= ARGV[2] then return 0 end
  redis.call('HDEL', KEYS[1], 'n:' .. ARGV[1], 'a:' .. ARGV[1], 'c:' .. ARGV[1])
  return 1
`;

/**
 * add, milliseconds of a window (and two arguments more, of the limiter that sends it) → the count of the window that is
 * open, and the milliseconds that are left of it. A window that would last longer than it may is what a clock that
 * stepped back, or that of a server before a failover, has left behind.
 */
const COUNT_RATE = `
  local time = redis.call('TIME')
  local now, per = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
  local ends = tonumber(redis.call('HGET', KEYS[1], 'ends') or 0)
  if ends <= now or ends > now + per then
    ends = now + per
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', ends))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', per))
  end
  return { redis.call('HINCRBY', KEYS[1], 'count', ARGV[1]), ends - now }
`;

/** candidate → the key that stands there, which is the candidate where there was none */
const KEEP_SHARED_KEY = `
  local stands = redis.call('HGET', KEYS[1], 'key')
  if stands then return stands end
  redis.call('HSET', KEYS[1], 'key', ARGV[1])
  return ARGV[1]
`;

export const SCRIPTS = {
  createToken: { numberOfKeys: 1, lua: CREATE },
  replaceToken: { numberOfKeys: 1, lua: REPLACE },
  withdrawToken: { numberOfKeys: 1, lua: WITHDRAW },
  recordTokenUse: { numberOfKeys: 1, lua: RECORD_USE },
  pruneTokenIndex: { numberOfKeys: 1, lua: PRUNE_INDEX },
  claimAnswer: { numberOfKeys: 1, lua: CLAIM },
  rememberAnswer: { numberOfKeys: 1, lua: REMEMBER },
  releaseAnswer: { numberOfKeys: 1, lua: RELEASE },
  keepSharedKey: { numberOfKeys: 1, lua: KEEP_SHARED_KEY },
  saveAuditCheckpoint: { numberOfKeys: 1, lua: SAVE_CHECKPOINT },
  appendChange: { numberOfKeys: 1, lua: APPEND_CHANGE },
  replaceAndAppend: { numberOfKeys: 2, lua: REPLACE_AND_APPEND },
  putMark: { numberOfKeys: 3, lua: PUT_MARK },
  renewReplica: { numberOfKeys: 2, lua: RENEW_REPLICA },
  musterReplicas: { numberOfKeys: 2, lua: MUSTER_REPLICAS },
  forgetReplica: { numberOfKeys: 1, lua: FORGET_REPLICA },
  // The name that rate-limiter-flexible gives to the script of its Redis limiter.
  rlflxIncr: { numberOfKeys: 1, lua: COUNT_RATE },
} as const;

type Text = string | number;

export type ReplaceArgs = readonly [version: Text, record: string, revoked: Text, expiresAt: Text, oldest: Text];
export type AppendArgs = readonly [nonce: Text, kind: string, id: string, keep: Text, channel: string];
export type PutMarkArgs = readonly [
  before: string,
  mark: string,
  ended: string,
  ends: string,
  most: Text,
  ...AppendArgs,
];
export type ReplaceAndAppendArgs = readonly [...ReplaceArgs, ...AppendArgs];

declare module 'ioredis' {
  interface RedisCommander<Context extends ClientContext> {
    createToken(
      key: string,
      record: string,
      revoked: Text,
      expiresAt: Text,
      member: string,
    ): Result<[made: number, stands?: string | null], Context>;
    replaceToken(key: string, ...args: ReplaceArgs): Result<number, Context>;
    withdrawToken(key: string): Result<string, Context>;
    recordTokenUse(key: string, at: Text, ip: string, count: Text, generation: Text): Result<number, Context>;
    pruneTokenIndex(key: string, minAgeMs: Text, ...members: string[]): Result<number, Context>;
    claimAnswer(key: string, now: Text, ends: Text, fingerprint: string): Result<(string | null)[], Context>;
    rememberAnswer(key: string, now: Text, ends: Text, fingerprint: string, value: string): Result<number, Context>;
    releaseAnswer(key: string): Result<number, Context>;
    keepSharedKey(key: string, candidate: string): Result<string, Context>;
    saveAuditCheckpoint(key: string, seq: Text, hash: string, time: Text): Result<number, Context>;
    appendChange(log: string, ...args: AppendArgs): Result<string, Context>;
    replaceAndAppend(key: string, log: string, ...args: ReplaceAndAppendArgs): Result<string, Context>;
    putMark(
      marks: string,
      ends: string,
      log: string,
      ...args: PutMarkArgs
    ): Result<[said: string, what: string], Context>;
    renewReplica(
      log: string,
      replicas: string,
      replica: string,
      applied: string,
      closed: string,
      nonce: Text,
      count: Text,
      channel: string,
      ...ahead: string[]
    ): Result<
      [last: string, replicas: number, broken: number, entries: [string, string[]][], reached: string],
      Context
    >;
    musterReplicas(
      log: string,
      replicas: string,
      ...positions: string[]
    ): Result<[missing: string[], replicas: string[]], Context>;
    forgetReplica(replicas: string, replica: string, renewals: Text): Result<number, Context>;
  }
}
