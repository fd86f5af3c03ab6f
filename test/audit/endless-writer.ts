import { openAuditLog } from '../../src/audit/open.ts';
import { systemClock } from '../../src/base/clock.ts';

/** Writes to the file given until it is killed, and prints the number of each durable event once it is acknowledged. */
const path = process.argv[2] ?? '';
const log = await openAuditLog({
  sinks: [{ kind: 'file', path }],
  onFull: 'drop',
  clock: systemClock,
  metrics: { auditEvent: () => undefined, auditDropped: () => undefined },
});
for (let i = 0; ; i += 1) {
  for (let k = 0; k < 20; k += 1) log.record({ type: 'access.allowed', outcome: 'success', path: `/${i}/${k}` });
  await log.recordDurably({ type: 'token.issued', outcome: 'success', path: `/durable/${i}` });
  process.stdout.write(`${i}\n`);
}
