import { formatDuration } from '../../base/quantity.ts';
import { duration } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

/** How far the clocks of replicas and issuers may be apart: a token a little from the future is a new one. */
const CLOCK_SKEW_MS = 60_000;

/** In less nobody gets a token, stores it and makes a request. */
const SHORTEST_AGE_MS = 1000;

/** The token's secret was made at most so long ago. */
export const maxTokenAge = conditionKind({
  schema: duration('How old a token may be, counted from its issue or last rotation.'),
  compile(maxAgeMs) {
    return {
      name: 'max_token_age',
      impossible:
        maxAgeMs < SHORTEST_AGE_MS ? `no token is used within ${formatDuration(maxAgeMs)} of its issue` : undefined,
      text: `token not older than ${formatDuration(maxAgeMs)}`,
      holds({ principal, now }) {
        const age = now - principal.issuedAt;
        return age >= -CLOCK_SKEW_MS && age <= maxAgeMs; // false for NaN
      },
    };
  },
});
