import type { z } from 'zod';
import { revokeMany } from '../../lifecycle/revoke-many.ts';
import type { RevokeManyReport } from '../../lifecycle/revoke-run.ts';
import type { FaultCode } from '../../model/fault.ts';
import { actorOf, lifecycleRefusal } from '../lifecycle-call.ts';
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
      const result = await revokeMany(options.lifecycle, actorOf(call), { selector, reason: reason ?? null, dryRun });
      if (!result.ok) return lifecycleRefusal(result.error);
      const report = result.value;
      const notes = selector.issuer === undefined ? [] : [NO_ISSUERS];
      if (report.failed > 0 || report.interrupted !== null) return partly(report);
      return json(200, { ...counts(report, dryRun), tokens: report.tokens, notes, propagation: report.propagation });
    },
  });
}

/** As many failures stand in `errors` too, for clients that print those; `failures` has more of them. */
const SHOWN_ERRORS = 20;

const NO_ISSUERS = 'This version trusts no JWT issuers, so issuer fits no token.';

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
  const { matched, revoked, failed, failures, interrupted, tokens, propagation } = report;
  const code = interrupted ?? failures[0]?.reason ?? 'internal';
  const more = interrupted === null ? '' : ' Not every token could be looked at.';
  const detail = `${revoked} of ${matched} tokens were revoked, ${failed} failed.${more} Repeat the call to go on.`;
  return refusal(REASON_OF_FAULT[code], detail, {
    errors: failures.slice(0, SHOWN_ERRORS).map(({ id, message }) => ({ path: id, message })),
    members: { ...counts(report, false), tokens, failures, propagation },
  });
}
