import { z } from 'zod';
import { LIMITS } from '../../base/limits.ts';
import type { PresentedToken } from '../../lifecycle/present.ts';
import { TOKEN_STATUSES } from '../../model/token-record.ts';
import { CLAIMS, CURSOR, LIMIT, TEXT, TEXTS, TIME } from '../fields.ts';

const DURATION = TEXT.meta({ examples: ['30d'], description: 'A duration such as 30d, 24h, 5m or 90s' });
/** One of somebody else may be longer than any other text. */
const WHOLE_TOKEN = z.string().trim().max(LIMITS.credentialBytes, `longer than ${LIMITS.credentialBytes} characters`);
const MOMENT = TEXT.meta({ format: 'date-time', description: 'RFC 3339' });
const BLOCKS = TEXTS.meta({ description: 'Addresses or CIDR blocks from which the token may be used' });
const BINDING = z.strictObject({
  jkt: TEXT.optional().meta({ description: 'RFC 7638 thumbprint (SHA-256) of the key of its DPoP proofs (RFC 9449)' }),
  'x5t#S256': TEXT.optional().meta({ description: "SHA-256 of the client's certificate, base64url (RFC 8705)" }),
});
export const ISSUE_BODY = z.strictObject({
  name: TEXT,
  owner: TEXT,
  class: TEXT.meta({ description: 'A class of the policies; it bounds scopes and lifetime' }),
  scopes: TEXTS,
  roles: TEXTS.optional(),
  subject: TEXT.nullable().optional(),
  claims: CLAIMS.optional(),
  ip: BLOCKS.optional(),
  ttl: DURATION.optional().meta({ description: 'A duration such as 30d; not together with expires_at' }),
  expires_at: MOMENT.optional(),
  not_before: MOMENT.optional(),
  bound_to: BINDING.nullable()
    .optional()
    .meta({ description: 'What its holder has to prove possession of; a bearer token where it is left out' }),
});

export const NARROW_BODY = z.strictObject({
  name: TEXT.optional(),
  owner: TEXT.optional(),
  scopes: TEXTS.optional(),
  roles: TEXTS.optional(),
  expires_at: MOMENT.optional(),
  ip: BLOCKS.optional(),
});

const RETIRE = z.enum(['at_grace_end', 'on_first_use']);

export const ROTATE_BODY = z.strictObject({
  grace: DURATION.optional().meta({ description: 'How long the old secret goes on working' }),
  ttl: DURATION.optional(),
  retire: RETIRE.optional().meta({ description: 'on_first_use ends the old secret as soon as the new one is used' }),
});

export const REVOKE_BODY = z.strictObject({ reason: TEXT });

export const LIST_QUERY = z.strictObject({
  owner: TEXT.optional(),
  class: TEXT.optional(),
  status: z.enum(TOKEN_STATUSES).optional(),
  subject: TEXT.optional(),
  expires_before: TIME.optional(),
  cursor: CURSOR,
  limit: LIMIT,
});

const AT = z.iso.datetime();

const RECORD = z.strictObject({
  id: z.string(),
  name: z.string(),
  owner: z.string(),
  class: z.string(),
  environment: z.string(),
  subject: z.string().nullable(),
  scopes: z.array(z.string()),
  roles: z.array(z.string()),
  claims: CLAIMS,
  ip: z.array(z.string()),
  created_at: AT,
  created_by: z.string(),
  not_before: AT.nullable(),
  expires_at: AT,
  status: z.enum(TOKEN_STATUSES),
  generation: z.int(),
  rotated_at: AT.nullable(),
  grace_until: AT.nullable(),
  rotate_after: AT.nullable(),
  revoked_at: AT.nullable(),
  revoked_by: z.string().nullable(),
  revoke_reason: z.string().nullable(),
  last_used_at: AT.nullable(),
  last_used_ip: z.string().nullable(),
  use_count: z.int(),
  superseded: z.array(
    z.strictObject({
      generation: z.int(),
      grace_until: AT,
      last_used_at: AT.nullable(),
      last_used_ip: z.string().nullable(),
      retire: RETIRE,
    }),
  ),
  bound_to: BINDING.nullable(),
  expired_by: z.literal('idle_expiry').nullable(),
}) satisfies z.ZodType<PresentedToken>;

export const TOKEN_RECORD = RECORD.meta({ id: 'Token' });

export const TOKEN_WITH_SECRET = RECORD.extend({
  token: z
    .string()
    .nullable()
    .meta({ description: 'The whole token, this once; null where an idempotent call is repeated' }),
});

const PROPAGATION = z.strictObject({
  replicas: z.int(),
  acknowledged: z.int(),
  streams_closed: z.int(),
  elapsed_ms: z.number(),
});

export const REVOCATION = z.strictObject({
  id: z.string(),
  revoked_at: AT,
  propagation: PROPAGATION,
});

export const REVOKE_MANY_BODY = z.strictObject({
  subject: TEXT.optional(),
  owner: TEXT.optional(),
  class: TEXT.optional(),
  jti: TEXT.optional().meta({ description: 'Id of a token; `jti` of one that somebody else issued' }),
  issuer: TEXT.optional().meta({ description: 'Of tokens that somebody else issued (`iss`)' }),
  issued_before: MOMENT.optional().meta({
    description: 'By `created_at`; of tokens of others by `iat`, and one that does not say counts as issued before',
  }),
  seen_from: TEXT.optional().meta({ description: 'Address or CIDR block of the last use' }),
  token: WHOLE_TOKEN.optional().meta({ description: 'A whole token, of whatever generation' }),
  reason: TEXT.optional().meta({ description: 'Required, except where dry_run is true' }),
  dry_run: z.boolean().optional().meta({ description: 'Only counts and lists' }),
});

const COUNTS = {
  dry_run: z.boolean(),
  matched: z.int(),
  revoked: z.int(),
  already_revoked: z.int(),
  expired: z.int(),
  failed: z.int(),
};

/** A revocation of tokens that others issued. */
const MARK = z.strictObject({
  id: z.string(),
  token_id: z.string().nullable(),
  jti: z.string().nullable(),
  subject: z.string().nullable(),
  issuer: z.string().nullable(),
  issued_before: AT.nullable(),
  keep_until: AT.nullable().meta({ description: 'When the last of the tokens has ended; null: kept for good' }),
  repeated: z.boolean(),
});

export const REVOKED_MANY = z.strictObject({
  ...COUNTS,
  tokens: z.array(z.strictObject({ id: z.string(), name: z.string(), owner: z.string(), class: z.string() })),
  marks: z.array(MARK).meta({ description: 'What stands, or would, against tokens that others issued' }),
  streams_open: z
    .int()
    .optional()
    .meta({ description: 'In a dry run: streams of this process that are open with tokens of others that fit' }),
  notes: z.array(z.string()),
  propagation: PROPAGATION,
});
