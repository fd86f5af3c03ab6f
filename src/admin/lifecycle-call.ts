import type { Actor, LifecycleError } from '../lifecycle/context.ts';
import { type Caller, challenge } from './authorize.ts';
import { type Refusal, refusal } from './problem.ts';
import { invalidRequest, type RequestFacts } from './route.ts';

export const NO_SUCH_TOKEN: Refusal = refusal('not_found', 'There is no token with this id.');

/** Nobody can say now whether a token of somebody else's is one: which is no word against it. */
export const ISSUER_SILENT =
  'Nothing was revoked: whoever vouches for the token cannot be asked at the moment. Repeat the call soon, or revoke by jti, subject or issuer.';

/** The caller of a request as the one who asks for a change. */
export function actorOf(call: { readonly caller: Caller; readonly request: RequestFacts }): Actor {
  const { principal } = call.caller;
  return {
    tokenId: principal.tokenId,
    name: principal.tokenId,
    scopes: principal.scopes,
    roles: principal.roles,
    class: principal.class,
    requestId: call.request.requestId,
    ip: call.request.ip,
  };
}

export function lifecycleRefusal(error: LifecycleError): Refusal {
  switch (error.kind) {
    case 'invalid':
      return invalidRequest(error.errors);
    case 'not_found':
      return NO_SUCH_TOKEN;
    case 'forbidden': {
      const detail = error.errors.map(({ path, message }) => `${path}: ${message}`).join('; ');
      return refusal('scope_insufficient', detail, {
        errors: error.errors,
        headers: challenge('scope_insufficient', 'the caller cannot hand out more than it holds', []),
      });
    }
    case 'conflict':
      return refusal('conflict', `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`);
  }
}
