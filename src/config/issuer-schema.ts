import { z } from 'zod';
import { JWS_ALGORITHM_NAMES } from '../base/jws-algorithm.ts';
import { isLoopbackHost } from '../base/loopback.ts';
import { err, ok, type Result } from '../base/result.ts';
import { type SecretSource, secretReference } from './secret-reference.ts';
import { unique } from './unique-items.ts';
import { duration, path } from './values.ts';

const LONGEST_SKEW_MS = 5 * 60_000;

/** The section `issuers`: whose JWTs are taken, and what is asked of them. */
export function issuersSchema(source: SecretSource) {
  return unique(z.array(issuerSchema(source)), (item) =>
    isObject(item) && typeof item['issuer'] === 'string' ? item['issuer'] : null,
  )
    .prefault([])
    .meta({ description: 'Issuers whose JWTs are taken. A list.' });
}

function issuerSchema(source: SecretSource) {
  return z
    .strictObject({
      issuer: text('expected the issuer as it stands in iss, such as https://login.example.com').meta({
        description: 'The issuer, exactly as its tokens name it (iss).',
      }),
      audience: oneOrMore(text('expected an audience as it stands in aud')).meta({
        description: 'Audience of this gateway, one or a list; a token has to be for one of them (aud).',
      }),
      jwks_uri: keysUrl().optional().meta({ description: 'Where the keys of the issuer are: a JWK Set.' }),
      discovery: z
        .union([z.literal(true, { error: DISCOVERY }), keysUrl(DISCOVERY)])
        .optional()
        .meta({ description: 'true, or the URL of the metadata that says where the keys are.' }),
      jwks_file: path(source.folder).optional().meta({ description: 'A file with the keys: a JWK Set.' }),
      secret: secretReference(source).optional().meta({
        description: 'Secret that is shared with the issuer, for HMAC; then only HS256, HS384 and HS512.',
      }),
      algorithms: unique(
        z.array(z.enum(JWS_ALGORITHM_NAMES)).min(1, { error: 'at least one algorithm is needed' }),
        (name) => (typeof name === 'string' ? name : null),
      )
        .optional()
        .meta({
          description:
            'Algorithms that count; RS256, PS256, ES256 and EdDSA where it is left out, HS256 with a secret.',
        }),
      max_lifetime: duration()
        .refine((milliseconds) => milliseconds > 0, { error: 'must be more than zero' })
        .prefault('1h')
        .meta({ description: 'Longest time from iat to exp.' }),
      clock_skew: duration()
        .refine((milliseconds) => milliseconds <= LONGEST_SKEW_MS, { error: 'must be at most 5m' })
        .prefault('30s')
        .meta({ description: "How far the issuer's clock may be apart." }),
      scope_claim: text('expected the name of a claim').prefault('scope').meta({
        description: 'Claim with the scopes; a name, or a JSON Pointer such as /resource/scopes.',
      }),
      roles_claim: text('expected the name of a claim').prefault('roles').meta({
        description: 'Claim with the roles; a name, or a JSON Pointer such as /realm_access/roles.',
      }),
      required_claims: requiredClaims(),
      typ: oneOrMore(typ()).optional().meta({
        description: 'Values of typ that count, one or a list; JWT, at+jwt or none where it is left out.',
      }),
    })
    .superRefine(checkKeys, { when: ({ value }) => isObject(value) });
}

const DISCOVERY = 'expected true, or the URL of the metadata';

/** What an issuer or an audience may be: any text of one line (RFC 7519 §2, StringOrURI), not too long. */
function text(wanted: string) {
  return z
    .string({ error: wanted })
    .regex(/^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,510}[^\p{C}\p{Z}])?$/u, { error: wanted });
}

function oneOrMore<T extends z.ZodType>(one: T) {
  return z.union([one, z.array(one).min(1, { error: 'the list is empty' }).max(20, { error: 'at most 20' })]);
}

/** A media type (RFC 7515 §4.1.9), compared without regard to case and to a leading `application/`. */
function typ() {
  const wanted = 'expected a type such as at+jwt';
  return z
    .string({ error: wanted })
    .regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+/-]{0,126}$/, { error: wanted })
    .transform((name) => name.toLowerCase().replace(/^application\//, ''));
}

function requiredClaims() {
  const name = text('expected the name of a claim');
  const wanted = { error: 'expected a text, a number, true or false' };
  const value = z.union([z.string(wanted), z.number(wanted), z.boolean(wanted)]);
  return z
    .union([z.array(name), z.record(name, value)], { error: 'expected a list of claims, or claims with their values' })
    .prefault([])
    .meta({ description: 'Claims that a token must have: a list, or a map of names and values.' });
}

/** https, or http on this machine. Errors never repeat the text: it may hold a password. */
function keysUrl(wanted = 'expected a URL such as https://login.example.com/jwks.json') {
  return z
    .string({ error: wanted })
    .meta({ pattern: '^https?://' })
    .transform((given, context): URL => {
      const url = checkKeysUrl(given, wanted);
      if (url.ok) return url.value;
      context.addIssue({ code: 'custom', message: url.error });
      return z.NEVER;
    });
}

function checkKeysUrl(given: string, wanted: string): Result<URL, string> {
  const url = /^https?:\/\//i.test(given) ? URL.parse(given) : null;
  if (url === null) return err(wanted);
  if (url.username !== '' || url.password !== '') return err('the URL must not hold credentials: keys are public');
  if (url.hash !== '') return err('a fragment cannot be part of this URL');
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    return err(
      'expected https://: whoever can change the keys on their way can make tokens (http:// is for this machine)',
    );
  }
  return ok(url);
}

const KEY_WAYS = ['jwks_uri', 'discovery', 'jwks_file', 'secret'] as const;
const LEAST_SECRET_BYTES: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 };

interface Given {
  readonly issuer?: unknown;
  readonly discovery?: unknown;
  readonly secret?: unknown;
  readonly algorithms?: unknown;
}

function checkKeys(issuer: Given, context: z.RefinementCtx): void {
  const complain = (at: readonly (string | number)[], message: string): void => {
    context.addIssue({ code: 'custom', path: [...at], message });
  };
  const ways = KEY_WAYS.filter((way) => way in issuer);
  if (ways.length === 0) complain([], 'needs one of jwks_uri, discovery, jwks_file or secret');
  for (const way of ways.slice(1)) complain([way], `there is ${ways[0]} already; one of them is enough`);
  if (issuer.discovery === true && typeof issuer.issuer === 'string') {
    const url = checkKeysUrl(
      issuer.issuer,
      'discovery: true needs an issuer that is a URL; or write the URL of the metadata',
    );
    if (!url.ok) complain(['discovery'], url.error);
    else if (url.value.search !== '') complain(['discovery'], 'the issuer has a query; write the URL of the metadata');
  }
  const algorithms = Array.isArray(issuer.algorithms) ? issuer.algorithms : [];
  for (const [index, name] of algorithms.entries()) {
    const symmetric = typeof name === 'string' && name.startsWith('HS');
    if (symmetric && ways.length > 0 && !('secret' in issuer)) {
      complain(['algorithms', index], `${name} needs a secret; with public keys everybody could sign`);
    }
    if (!symmetric && typeof name === 'string' && 'secret' in issuer) {
      complain(['algorithms', index], `${name} is not for a secret: HS256, HS384, HS512`);
    }
  }
  checkSecret(issuer, algorithms, complain);
}

function checkSecret(
  { secret }: Given,
  algorithms: readonly unknown[],
  complain: (at: readonly string[], message: string) => void,
): void {
  if (!isObject(secret) || typeof secret['reveal'] !== 'function') return;
  const bytes = Buffer.byteLength(String(secret['reveal']()));
  const least = Math.max(32, ...algorithms.map((name) => LEAST_SECRET_BYTES[String(name)] ?? 0));
  // RFC 7518 §3.2.
  if (bytes < least) complain(['secret'], `has ${bytes} bytes; the algorithm needs ${least}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
