import { z } from 'zod';
import { parseGrantedScope } from '../scope.ts';
import { apiName, noRepeats, textField } from './fields.ts';

const grantedScope = textField(
  { description: 'A scope, or with ":*" at its end everything below it.', examples: ['orders:read', 'orders:*'] },
  (text) => parseGrantedScope(text, false),
);

/** `policies/roles.yaml` */
export const rolesFileSchema = z.strictObject({
  roles: z
    .record(
      apiName,
      z.strictObject({
        scopes: z.array(grantedScope).check(noRepeats).default([]).describe('What the role grants.'),
        includes: z.array(z.string()).check(noRepeats).default([]).describe('Roles whose scopes it grants too.'),
      }),
    )
    .describe('Roles by name.'),
});

export type RolesFile = z.output<typeof rolesFileSchema>;
