import { z } from 'zod';
import { TOKEN_TYPES } from '../../model/principal.ts';
import { conditionKind } from './condition-kind.ts';

const kind = z.enum(TOKEN_TYPES);

/** The token is of one of these kinds. */
export const tokenType = conditionKind({
  schema: z
    .union([kind, z.array(kind).min(1, 'an empty list matches no token')])
    .describe(
      'Kinds of token that may pass: opaque (issued here), jwt (of a trusted issuer), introspected (its server was asked).',
    ),
  compile(value) {
    const kinds = typeof value === 'string' ? [value] : value;
    return {
      name: 'token_type',
      text: `token_type is ${kinds.join(' or ')}`,
      holds: ({ principal }) => kinds.includes(principal.tokenType),
    };
  },
});
