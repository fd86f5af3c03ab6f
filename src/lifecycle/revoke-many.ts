import { err, ok, type Result } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { Actor, LifecycleContext, LifecycleError } from './context.ts';
import { checkText } from './fields.ts';
import { RevocationRun, type RevokeManyReport, type RevokeManyRequest } from './revoke-run.ts';
import { candidates, compileSelector } from './revoke-selector.ts';

/** A token that somebody issues while the list is walked is met by the next walk; so often at most. */
const MAX_WALKS = 5;
/**
 * Revokes every token that fits, with the promise of `revokeToken`, and waits for the replicas once for all of them: when this resolves with no failure and
 * not interrupted, none of them is let in anywhere any more. The actor's own token comes last, so that a call that fails on the way
 * can be repeated. Faults of single tokens are counted; a Fault is thrown only while nothing has been changed.
 */
export async function revokeMany(
  context: LifecycleContext,
  actor: Actor,
  request: RevokeManyRequest,
): Promise<Result<RevokeManyReport, LifecycleError>> {
  const compiled = compileSelector(context, request.selector, request.presented ?? null);
  const errors = [
    ...(request.reason === null ? [] : checkText('reason', request.reason)),
    ...(compiled.ok ? [] : compiled.error),
  ];
  if (errors.length > 0 || !compiled.ok) return err({ kind: 'invalid', errors });
  const began = context.clock.monotonic();
  const run = new RevocationRun(context, actor, request);
  try {
    await run.takeForeign(compiled.value.foreign);
    for (let walk = 0; walk < MAX_WALKS; walk += 1) {
      const before = run.changed;
      for await (const stored of candidates(context, compiled.value)) await run.take(stored);
      await run.settled();
      if (request.dryRun || run.changed === before || !compiled.value.open) break;
    }
    await run.finish();
  } catch (fault) {
    await run.settled();
    if (!run.touched || !(fault instanceof Fault)) throw fault;
    run.interrupted(fault);
  }
  return ok(run.report(context.clock.monotonic() - began));
}
