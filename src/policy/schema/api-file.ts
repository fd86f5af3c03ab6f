import { z } from 'zod';
import { whenSchema } from '../conditions/table.ts';
import {
  apiName,
  base,
  duration,
  host,
  method,
  noRepeats,
  pathPattern,
  publicUrl,
  requiredScope,
  resourceIdentifier,
  ruleName,
} from './fields.ts';

const scope = requiredScope('A scope that the token must cover; literal.');
const allOf = z.array(scope).check(noRepeats);
const anyOf = z.array(scope).min(1, 'an empty list can be met by no token').check(noRepeats);
const mode = z.enum(['enforce', 'report']);

const rateLimit = z
  .strictObject({
    requests: z.int().min(1, 'must be 1 or more').describe('How many requests are let through in one period.'),
    per: duration('The period.'),
    by: z.enum(['token', 'subject', 'ip']).default('token').describe('Who shares the allowance.'),
  })
  .describe('A bound on the rate of requests that this rule lets through.');

export const ruleSchema = z.strictObject({
  name: ruleName,
  methods: z
    .array(method)
    .min(1, 'an empty list matches no request; leave "methods" out for every method')
    .check(noRepeats)
    .optional()
    .describe('HTTP methods, each by itself: GET does not include HEAD. Every method where it is left out.'),
  path: z
    .union([pathPattern, z.array(pathPattern).min(1, 'an empty list matches no request')])
    .describe('One path or a list, below the base.'),
  scopes: z
    .union([allOf, z.strictObject({ any_of: anyOf }), z.strictObject({ all_of: allOf })])
    .optional()
    .describe('The token must cover all of a list, or one of "any_of".'),
  any_of: anyOf.optional().describe('The token must cover one of these; instead of "scopes".'),
  when: whenSchema.optional(),
  rate_limit: rateLimit.optional(),
  public: z.boolean().default(false).describe('Lets requests through without a token. The only way to do so.'),
  mode: mode.optional().describe('Overrides the mode of the file.'),
});

const resource = z
  .strictObject({
    identifier: resourceIdentifier,
    authorization_servers: z
      .array(publicUrl('An issuer whose tokens are taken.'))
      .min(1, 'an empty list names no issuer; leave it out')
      .check(noRepeats)
      .optional()
      .describe("Issuers whose tokens are taken; the configuration's where it is left out."),
    scopes_supported: z.array(scope).check(noRepeats).optional().describe('Scopes that clients may ask for.'),
    documentation: publicUrl('A page for developers.').optional(),
    name: z.string().min(1, 'cannot be empty').max(200).optional().describe('A name for people.'),
  })
  .describe('What clients are told of this API by itself (RFC 9728).');

/** An API policy file: `policies/orders.yaml`. */
export const apiFileSchema = z.strictObject({
  api: apiName.describe('Unique; a label in metrics and audit.'),
  upstream: z.string().min(1, 'cannot be empty').describe('The name of an upstream of the configuration.'),
  hosts: z
    .array(host)
    .min(1, 'an empty list matches no host; leave "hosts" out for every host')
    .check(noRepeats)
    .optional()
    .describe(
      'Hosts that this file is for; every host where it is left out. Its rules go before those for every host.',
    ),
  base: base.default(''),
  strip_base: z.boolean().default(false).describe('Whether the upstream gets the path without the base.'),
  preflight: z
    .enum(['deny', 'forward'])
    .default('deny')
    .describe('Whether a CORS preflight goes to the upstream without a token.'),
  mode: mode
    .default('enforce')
    .describe('report: decide and record, but let every request with a valid token through.'),
  on_unavailable: z
    .enum(['deny', 'serve_cached'])
    .optional()
    .describe("What happens while the token store cannot be reached; overrides the store's setting."),
  resource: resource.optional(),
  rules: z
    .array(ruleSchema)
    .min(1, 'an API without rules lets nothing through')
    .describe('The most specific rule for a request judges it.'),
});

export type ApiFile = z.output<typeof apiFileSchema>;
export type RuleInFile = z.output<typeof ruleSchema>;
