import { maskTokens } from '../base/token-mask.ts';

const REDACTED = '[redacted]';
const MAX_DEPTH = 8;
const MAX_ITEMS = 200;
const MAX_TEXT = 8 * 1024;

/** Names, in lower case and without separators, of fields whose value is never logged. */
const SECRET_NAMES = new Set([
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'xapikey',
  'apikey',
  'token',
  'admintoken',
  'accesstoken',
  'refreshtoken',
  'idtoken',
  'assertion',
  'jwt',
  'secret',
  'clientsecret',
  'password',
  'passwd',
  'pepper',
  'credential',
  'credentials',
  'privatekey',
  'digest',
]);

/** User and password in a URL (RFC 3986 §3.2.1). */
const USERINFO = /(\b[a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/?#@"']*@/gi;

/** The text without tokens, credentials of a quoted header, and passwords in URLs. */
export function redactText(text: string): string {
  const masked = maskTokens(text);
  return masked.includes('@') ? masked.replace(USERINFO, '$1***@') : masked;
}

/**
 * A copy for the log: plain data of bounded depth and breadth, secrets left out by the names of fields and by the shape of
 * texts. An Error becomes its type, message, stack, code and cause. Never throws.
 */
export function redactFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return redactObject(fields, 0);
}

function redact(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return redactText(value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value);
    case 'number':
    case 'boolean':
    case 'undefined':
      return value;
    case 'bigint':
      return String(value);
    case 'object':
      return value === null ? null : redactInstance(value, depth);
    default:
      return `[${typeof value}]`;
  }
}

function redactInstance(value: object, depth: number): unknown {
  if (depth > MAX_DEPTH) return '[too deep]';
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof URL) return redactText(value.href);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return redactList(value, depth);
  if (value instanceof Map) return redactPairs([...value.entries()], depth);
  if (value instanceof Set) return redactList([...value], depth);
  if (hasToJson(value)) return redactJson(value, depth);
  return redactObject(value, depth);
}

/** Lists of alternating names and values, as raw headers are, are looked at as pairs too. */
function redactList(list: readonly unknown[], depth: number): unknown[] {
  return list.slice(0, MAX_ITEMS).map((item, index) => {
    const before = list[index - 1];
    return typeof before === 'string' && isSecretName(before) && typeof item === 'string'
      ? REDACTED
      : redact(item, depth + 1);
  });
}

function redactPairs(pairs: readonly (readonly [unknown, unknown])[], depth: number): Record<string, unknown> {
  return redactMembers(
    pairs.map(([name, value]) => [String(name), value]),
    depth,
  );
}

function redactObject(object: object, depth: number): Record<string, unknown> {
  try {
    return redactMembers(Object.entries(object), depth);
  } catch {
    // A getter that throws must not cost the line.
    return { unreadable: true };
  }
}

function redactMembers(members: readonly (readonly [string, unknown])[], depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [name, value] of members.slice(0, MAX_ITEMS)) {
    const safe = isSecretName(name) && value !== null && value !== undefined ? REDACTED : redact(value, depth + 1);
    Object.defineProperty(copy, redactText(name), { value: safe, enumerable: true, configurable: true });
  }
  return copy;
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const { cause } = error;
  return {
    type: error.name,
    message: redact(error.message, depth),
    stack: redact(error.stack, depth),
    ...('code' in error ? { code: redact(error.code, depth + 1) } : {}),
    ...(cause === undefined ? {} : { cause: redact(cause, depth + 1) }),
    ...('errors' in error ? { errors: redact(error.errors, depth + 1) } : {}),
  };
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

function redactJson(value: { toJSON(): unknown }, depth: number): unknown {
  try {
    return redact(value.toJSON(), depth + 1);
  } catch {
    return '[unreadable]';
  }
}

function isSecretName(name: string): boolean {
  return SECRET_NAMES.has(name.toLowerCase().replaceAll(/[-_]/g, ''));
}
