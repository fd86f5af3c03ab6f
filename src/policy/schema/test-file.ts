import { isIP } from 'node:net';
import { z } from 'zod';
import { parseAddressRange } from '../../base/address-range.ts';
import { err, ok } from '../../base/result.ts';
import { CONDITION_NAMES } from '../../model/condition.ts';
import { TOKEN_TYPES } from '../../model/principal.ts';
import type { ClaimValue } from '../../model/token-record.ts';
import { durationOrNone, parseHost, textField } from './fields.ts';

/** The refusals that follow from a request and a token alone. */
const POLICY_REASONS = [
  'path_ambiguous',
  'request_malformed',
  'token_missing',
  'route_not_declared',
  'scope_insufficient',
  'condition_failed',
] as const;

const claimValue: z.ZodType<ClaimValue, ClaimValue> = z.json();
const moment = textField(
  { description: 'When the request comes, RFC 3339; now where it is left out.', examples: ['2026-03-02T09:30:00Z'] },
  (text) => {
    const epoch = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.test(text)
      ? Date.parse(text)
      : Number.NaN;
    return Number.isNaN(epoch)
      ? err(`expected a time such as 2026-03-02T09:30:00Z, got ${JSON.stringify(text)}`)
      : ok(epoch);
  },
);
const address = textField({ description: "The client's address.", examples: ['10.1.2.3'] }, (text) =>
  isIP(text) === 0 ? err(`expected an IP address, got ${JSON.stringify(text)}`) : ok(text),
);
const block = textField({ description: 'An address or CIDR block.' }, (text) => {
  const parsed = parseAddressRange(text);
  return parsed.ok ? ok(text) : parsed;
});

const message = z
  .strictObject({
    method: z
      .union([z.string().min(1, 'cannot be empty'), z.null()])
      .describe('null: an answer to a request of the server.'),
    tool: z.string().optional().describe('What tools/call names.'),
  })
  .describe('The message of the Model Context Protocol in the body; no readable one where it is left out.');

const request = z
  .strictObject({
    method: z.string().min(1, 'cannot be empty').default('GET').describe('As it is sent; methods are case-sensitive.'),
    path: z
      .string()
      .min(1, 'cannot be empty')
      .describe('The request-target as it is sent, before it is made canonical.'),
    host: textField({ description: 'The Host header without port.', examples: ['api.example.com'] }, parseHost).default(
      'localhost',
    ),
    ip: address.default('127.0.0.1'),
    time: moment.optional(),
    mcp: message.optional(),
  })
  .describe('The request.');

const token = z
  .strictObject({
    scopes: z.array(z.string()).optional(),
    roles: z.array(z.string()).optional(),
    claims: z.record(z.string(), claimValue).optional(),
    type: z.enum(TOKEN_TYPES).optional(),
    age: durationOrNone('Time since the token was issued; none where it is left out.').optional(),
    subject: z.string().optional(),
    owner: z.string().optional(),
    class: z.string().optional(),
    ip: z.array(block).optional().describe("The token's own address blocks."),
  })
  .describe('A valid token with these attributes.');

const expectation = z
  .strictObject({
    decision: z
      .enum(['allow', 'deny'])
      .describe('In report mode too what the policy decides, not what is let through.'),
    reason: z.enum(POLICY_REASONS).optional().describe('Why it is denied.'),
    condition: z.enum(CONDITION_NAMES).optional().describe('Which condition fails.'),
    rule: z
      .union([z.string(), z.null()])
      .optional()
      .describe('The name of the rule that judges, or <api>/<name>; null for none.'),
  })
  .describe('What must come out; what is left out is not compared.');

/** `policies/orders.test.yaml` */
export const testFileSchema = z.strictObject({
  cases: z
    .array(
      z.strictObject({
        name: z.string().min(1, 'cannot be empty').describe('What the case shows.'),
        request,
        token: z
          .union([z.literal('none'), token])
          .default('none')
          .describe('none: the request carries no token.'),
        expect: expectation,
      }),
    )
    .min(1, 'a test file without cases tests nothing'),
});

export type TestCaseInFile = z.output<typeof testFileSchema>['cases'][number];
