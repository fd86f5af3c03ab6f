import { z } from 'zod';
import { isLoopbackHost } from '../base/loopback.ts';
import { err, ok, type Result } from '../base/result.ts';
import { followedSecret, type SecretSource } from './secret-reference.ts';
import { duration, timeout } from './values.ts';

/** Longest that an answer may be taken for true. */
const LONGEST_CACHE_MS = 3_600_000;
const LONGEST_TIMEOUT_MS = 60_000;

/** The section `introspection`: servers that are asked about tokens that somebody else issued (RFC 7662). */
export function introspectionSchema(source: SecretSource) {
  return z
    .array(serverSchema(source))
    .superRefine(refuseOverlaps, { when: ({ value }) => Array.isArray(value) })
    .prefault([])
    .meta({ description: 'RFC 7662 servers, by how the tokens begin that each is asked about.' });
}

function serverSchema(source: SecretSource) {
  const audience = text('expected an audience, as it stands in aud');
  return z.strictObject({
    match: z
      .strictObject({
        prefix: z
          .string({ error: PREFIX })
          .regex(/^[A-Za-z0-9._~+/-]{0,64}$/, { error: PREFIX })
          .meta({ description: 'How the tokens begin; an empty one takes all that no other kind does.' }),
      })
      .meta({ description: 'Which tokens the server is asked about.' }),
    endpoint: endpointUrl().meta({ description: 'URL of the introspection endpoint: https, or http on this machine.' }),
    client_id: text('expected the id of the client').meta({ description: 'Who the gateway is to the server.' }),
    client_secret: followedSecret(source, clientSecretComplaint).meta({
      description: 'Its secret there, for HTTP Basic; a file is read again when it changes.',
    }),
    audience: z
      .union([audience, z.array(audience).min(1, { error: 'the list is empty' }).max(20, { error: 'at most 20' })])
      .optional()
      .meta({ description: 'Audience of this gateway, one or a list; a token has to be for one of them (aud).' }),
    require_token_type: z.boolean().prefault(false).meta({
      description: 'Whether an answer has to say that the token is an access token (token_type).',
    }),
    cache: within(duration(), LONGEST_CACHE_MS, '1h').prefault('30s').meta({
      description: 'How long an answer that a token is active is taken for true; never past its exp.',
    }),
    negative_cache: within(duration(), LONGEST_CACHE_MS, '1h').prefault('10s').meta({
      description: 'How long an answer that a token is not active is taken for true.',
    }),
    timeout: within(timeout(), LONGEST_TIMEOUT_MS, '1m').prefault('5s').meta({
      description: 'For the whole answer to arrive.',
    }),
  });
}

const PREFIX = 'expected up to 64 of A-Z a-z 0-9 . _ ~ + / -, as the tokens begin';

function within<T extends z.ZodType<number>>(kind: T, most: number, said: string) {
  return kind.refine((milliseconds) => milliseconds <= most, { error: `must be at most ${said}` });
}

function text(wanted: string) {
  return z.string({ error: wanted }).regex(/^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/, { error: wanted });
}

/** Errors never repeat the text: it may hold a password. */
function endpointUrl() {
  return z
    .string({ error: ENDPOINT })
    .meta({ pattern: '^https?://' })
    .transform((given, context): URL => {
      const url = checkEndpoint(given);
      if (url.ok) return url.value;
      context.addIssue({ code: 'custom', message: url.error });
      return z.NEVER;
    });
}

const ENDPOINT = 'expected a URL such as https://login.example.com/introspect';

function checkEndpoint(given: string): Result<URL, string> {
  const url = /^https?:\/\//i.test(given) ? URL.parse(given) : null;
  if (url === null) return err(ENDPOINT);
  if (url.username !== '' || url.password !== '') return err('a URL must not hold credentials; use client_secret');
  if (url.hash !== '') return err('a fragment cannot be part of this URL');
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    return err('expected https://: tokens and the client secret would be sent in clear (http:// is for this machine)');
  }
  return ok(url);
}

/** A token is asked about at one server: which one, its beginning alone has to say. */
function refuseOverlaps(items: readonly unknown[], context: z.RefinementCtx): void {
  const prefixes = items.map(prefixOf);
  for (const [index, prefix] of prefixes.entries()) {
    if (prefix === null) continue;
    const earlier = prefixes.findIndex((other, at) => at < index && other !== null && overlap(prefix, other));
    if (earlier < 0) continue;
    const message =
      prefixes[earlier] === prefix
        ? `the same prefix as item ${earlier + 1} of the list`
        : `tokens could be of this kind and of item ${earlier + 1} of the list: one prefix begins with the other`;
    context.addIssue({ code: 'custom', path: [index, 'match', 'prefix'], message });
  }
}

/** The empty prefix is for what no other takes, so it stands beside each of them. */
function overlap(one: string, other: string): boolean {
  if (one === '' || other === '') return one === other;
  return one.startsWith(other) || other.startsWith(one);
}

function prefixOf(item: unknown): string | null {
  if (!isObject(item) || !isObject(item['match'])) return null;
  const { prefix } = item['match'];
  return typeof prefix === 'string' ? prefix : null;
}

/** Why tokens of this prefix could be taken for those that this installation issues, or null. */
export function ownPrefixConflict(prefix: string, ownPrefix: string): string | null {
  const own = `${ownPrefix}_`;
  if (prefix === '' || !(own.startsWith(prefix) || prefix.startsWith(own))) return null;
  return `tokens of this installation begin with ${own}, and are never sent to another server`;
}

/** Why a text cannot be the secret of a client, or null. */
export function clientSecretComplaint(text: string): string | null {
  if (/\p{Cc}|\ufffd/u.test(text)) return 'holds control characters';
  return text.trim() === '' ? 'is blank' : null;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
