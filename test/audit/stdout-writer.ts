import { openAuditLog } from '../../src/audit/open.ts';
import { systemClock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';

/** Writes far more than the reader of its standard output takes, and tells its parent how that went. */
let dropped = 0;
const log = await openAuditLog({
  sinks: [{ kind: 'stdout' }],
  onFull: 'drop',
  clock: systemClock,
  metrics: {
    auditEvent: () => undefined,
    auditDropped: () => {
      dropped += 1;
    },
  },
});
for (let i = 0; i < LIMITS.auditQueue * 2; i += 1) {
  log.record({ type: 'access.allowed', outcome: 'success', path: `/${i}` });
  if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
}
process.send?.({ dropped });
process.once('message', () => {
  const outcome = log.recordDurably({ type: 'token.issued', outcome: 'success' });
  outcome.then(
    () => process.send?.({ refused: null }),
    (error: Error) => process.send?.({ refused: error.message }, () => process.exit(0)),
  );
});
