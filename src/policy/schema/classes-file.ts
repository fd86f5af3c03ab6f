import { z } from 'zod';
import { apiName, duration, durationOrNone, noRepeats } from './fields.ts';

const classSchema = z.strictObject({
  max_ttl: duration('The longest life of a token of this class.'),
  default_ttl: duration('The life of a token where the issuer names none; max_ttl where it is left out.').optional(),
  scopes: z
    .array(z.string().meta({ examples: ['orders:*'] }))
    .check(noRepeats)
    .describe('Scopes that a token of this class may hold; "*" only for class admin.'),
  roles: z
    .array(z.string())
    .check(noRepeats)
    .optional()
    .describe(
      'Roles that a token of this class may carry; any whose scopes lie within the class where it is left out.',
    ),
  rotate_every: duration('When a token is due for rotation.').optional(),
  grace: durationOrNone(
    'How long the old secret works after a rotation; 24h, at most max_ttl, where it is left out.',
  ).optional(),
  idle_expiry: duration('When a token that nobody uses ends.').optional(),
  require: z
    .array(z.enum(['owner', 'ip', 'subject', 'claims']))
    .check(noRepeats)
    .default([])
    .describe('What must be stated when a token of this class is issued.'),
  retire: z
    .enum(['at_grace_end', 'on_first_use'])
    .default('at_grace_end')
    .describe('Whether the old secret ends with its grace, or as soon as the new one is used.'),
  on_reuse: z
    .enum(['alert', 'revoke'])
    .default('alert')
    .describe('What the use of an old secret after its grace does: an audit event, or also the end of the token.'),
});

/** `policies/classes.yaml` */
export const classesFileSchema = z.strictObject({
  classes: z.record(apiName, classSchema).describe('Classes by name: they bound what may be issued.'),
});

export type ClassesFile = z.output<typeof classesFileSchema>;
export type ClassInFile = z.output<typeof classSchema>;
