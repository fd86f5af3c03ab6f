import type { Socket } from 'node:net';
import type { McpMessage } from '../model/mcp-message.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import type { CompiledApi, CompiledRule } from '../policy/compiled-policy.ts';
import type { ClientRequest, ClientResponse } from './client-message.ts';
import type { Gateway } from './gateway.ts';
import type { ResponseOwner } from './gateway-response.ts';
import type { HeldBody } from './mcp-body.ts';
import type { OwnTokenReason } from './own-token.ts';
import { refuse } from './refusal.ts';
import type { RequestHead } from './request-head.ts';

/** A connection that asks to become a WebSocket, with what was read beyond the handshake. */
export interface UpgradeOffer {
  readonly socket: Socket;
  readonly head: Buffer;
}

/**
 * One request and all that is learned about it on its way through. Lives until it is recorded. Owns its response as long
 * as nothing is forwarded.
 */
export class Exchange implements ResponseOwner {
  readonly #gateway: Gateway;
  readonly request: ClientRequest;
  readonly response: ClientResponse;
  /** The client waits for an invitation before it sends its body (RFC 9110 §10.1.1). */
  expectsContinue = false;
  upgrade: UpgradeOffer | null = null;
  /** Another proxy asks what would be decided: nothing is forwarded, and method, host and path are those of its request. */
  decisionOnly = false;
  readonly requestId: string;
  /** Monotonic milliseconds. */
  readonly startedAt: number;
  /** The peer's address; the client's differs behind a trusted proxy. */
  readonly peer: string;
  /** Empty where a proxy asks for a decision and does not say who its client is. */
  client: string;
  head: RequestHead | null = null;
  method = '';
  /** Canonical; what the policy judged and the upstream gets. */
  path = '';
  /** With its `?`, as it came; or the empty string. */
  query = '';
  host = '';
  traceparent: string | null = null;
  api: CompiledApi | null = null;
  rule: CompiledRule | null = null;
  principal: Principal | null = null;
  /** Own scopes and those of the roles, under the policy that judged. */
  scopes: readonly string[] = [];
  /** Known, and proven, even where the token was refused. */
  tokenId: string | null = null;
  policyVersion: string | null = null;
  /** The message in the body, where the policy asked for it. */
  mcp: McpMessage | null = null;
  /** What was read of the body before the decision. */
  heldBody: HeldBody | null = null;
  heldBytes = 0;
  /** Whose bytes they count as. */
  heldFor: string | null = null;
  /** When the policy decided, milliseconds since the epoch; 0 where it was not asked. */
  decidedAt = 0;
  /** Why it was refused, or why an allowed request was not answered by the upstream. */
  reason: Reason | null = null;
  /** The policy denied, but only reports. */
  wouldDeny: Reason | null = null;
  /** What the client is told of its rate limit, name and value in turn; null where there is none. */
  rateFields: readonly string[] | null = null;
  /** The nonce that the next proof of the client should have (RFC 9449 §8.2); null: nothing new. */
  proofNonce: string | null = null;
  forwarded = false;
  /** Let in, and answered by the gateway itself (the holder's own endpoints). */
  served = false;
  /** Why a call of the holder's own endpoints failed, where it is none of the reasons above. */
  ownReason: OwnTokenReason | null = null;
  status = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Monotonic milliseconds; 0 while nothing was sent upstream, or answered. */
  upstreamStartedAt = 0;
  upstreamAnsweredAt = 0;
  /** The answer is longer than a moment: a WebSocket or server-sent events. */
  streaming = false;
  /** Something was awaited after the token was looked up. */
  waited = false;
  judged = false;
  closed = false;
  recorded = false;

  constructor(gateway: Gateway, request: ClientRequest, response: ClientResponse, peer: string) {
    this.#gateway = gateway;
    this.request = request;
    this.response = response;
    this.requestId = gateway.ids.requestId();
    this.startedAt = gateway.options.clock.monotonic();
    this.peer = peer;
    this.client = peer;
    this.method = request.method ?? '';
  }

  onDrain(): void {
    // Nothing waits: an answer of the gateway's own is written at once.
  }

  onClose(): void {
    this.closed = true;
    this.#gateway.record(this);
  }

  onBroken(reason: Reason): void {
    if (this.status === 0) this.#gateway.answer(this, refuse(reason));
  }

  /**
   * True while part of the request's body may still arrive. What is left of it is never read as a next request, so the
   * connection ends with the answer. (A request without a body counts as complete before node says so.)
   */
  get bodyPending(): boolean {
    const { head } = this;
    if (head === null) return true;
    return (head.framing === 'chunked' || head.contentLength > 0) && !this.request.complete;
  }
}
