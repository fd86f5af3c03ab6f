import type { z } from 'zod';
import { revokeMany } from '../../lifecycle/revoke-many.ts';
import type { RevokeManyReport } from '../../lifecycle/revoke-run.ts';
import type { FaultCode } from '../../model/fault.ts';
import type { Principal } from '../../model/principal.ts';
import { isMarkId } from '../../store/revocation-marks.ts';
import { actorOf, ISSUER_SILENT, lifecycleRefusal } from '../lifecycle-call.ts';
import type { AdminOptions } from '../options.ts';
import { type AdminReason, type Refusal, refusal } from '../problem.ts';
import { type AdminRoute, defineRoute, invalidRequest, json } from '../route.ts';
import { REVOKE_MANY_BODY, REVOKED_MANY } from './token-schemas.ts';

/** Bulk revocation: 200 only when every token that fits is revoked everywhere; else a problem that says how far it came. */
export function revokeManyRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/revocations',
    operationId: 'revokeTokens',
    tag: 'Tokens',
    summary: 'Revoke every token that fits all of the selectors',
    description:
      'When this has answered 200 none of them is let in anywhere any more. Whatever failed makes it a problem document with the same members and `failures`; a repeat goes on with the rest.',
    scope: 'portcullis:tokens:revoke',
    body: { kind: 'json', schema: REVOKE_MANY_BODY },
    answers: { 200: { description: 'What was revoked, or would be', schema: REVOKED_MANY } },
    refusals: ['conflict', 'audit_unavailable'],
    handle: async (call) => {
      const { reason, dry_run: dryRun = false, ...selector } = call.body;
      // What this process has noted of the last seconds; other processes write theirs within seconds.
      if (selector.seen_from !== undefined) await options.uses.flush?.();
      if (reason === undefined && !dryRun) return invalidRequest([{ path: 'reason', message: 'is required' }]);
      const known = await identified(options, selector.token);
      if (known.silent) return refusal('store_unavailable', ISSUER_SILENT);
      const { presented } = known;
      const request = { selector, reason: reason ?? null, dryRun, presented };
      const result = await revokeMany(options.lifecycle, actorOf(call), request);
      if (!result.ok) return lifecycleRefusal(result.error);
      const report = result.value;
      const notes = selector.issuer === undefined || options.identify !== null ? [] : [NO_ISSUERS];
      if (report.failures.length > 0 || report.interrupted !== null) return partly(report);
      const { tokens, marks, streams_open, propagation } = report;
      const open = dryRun ? { streams_open } : {};
      return json(200, { ...counts(report, dryRun), tokens, marks, ...open, notes, propagation });
    },
  });
}

/** As many failures stand in `errors` too, for clients that print those; `failures` has more of them. */
const SHOWN_ERRORS = 20;

const NO_ISSUERS = 'No issuers are configured here, so issuer fits no token.';

/** Whether a token is one of somebody else's; only who verifies it can tell. One that is not good any more is nobody's. */
async function identified(
  { identify, clock }: AdminOptions,
  token: string | undefined,
): Promise<{ readonly silent: boolean; readonly presented: Principal | null }> {
  if (identify === null || token === undefined) return { silent: false, presented: null };
  const outcome = await identify(token, clock.now());
  if (!outcome.ok) return { silent: outcome.reason === 'store_unavailable', presented: null };
  return { silent: false, presented: outcome.principal.foreign === null ? null : outcome.principal };
}

function counts(report: RevokeManyReport, dryRun: boolean): Partial<z.input<typeof REVOKED_MANY>> {
  const { matched, revoked, already_revoked, expired, failed } = report;
  return { dry_run: dryRun, matched, revoked, already_revoked, expired, failed };
}

const REASON_OF_FAULT: Readonly<Record<FaultCode, AdminReason>> = {
  store_unavailable: 'store_unavailable',
  store_full: 'store_unavailable',
  audit_unavailable: 'audit_unavailable',
  conflict: 'conflict',
  internal: 'internal_error',
};

function partly(report: RevokeManyReport): Refusal {
  const { matched, revoked, failed, failures, interrupted, tokens, marks, propagation } = report;
  const code = interrupted ?? failures[0]?.reason ?? 'internal';
  const more = interrupted === null ? '' : ' Not every token could be looked at.';
  const foreign = failures.some(({ id }) => isMarkId(id)) ? ' The revocation of tokens of others failed.' : '';
  const detail = `${revoked} of ${matched} tokens were revoked, ${failed} failed.${foreign}${more} Repeat the call to go on.`;
  return refusal(REASON_OF_FAULT[code], detail, {
    errors: failures.slice(0, SHOWN_ERRORS).map(({ id, message }) => ({ path: id, message })),
    members: { ...counts(report, false), tokens, marks, failures, propagation },
  });
}
