import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Reason } from '../model/reason.ts';
import type { ResponseHead } from './response-head.ts';

/** What wants to know of a response's progress. One object instead of three closures for each request. */
export interface ResponseOwner {
  /** The client takes data again. */
  onDrain(): void;
  /** The response is over: written out, or the client is gone. Exactly once. */
  onClose(): void;
  /** The rest of the request's body cannot be read, or came too slowly. */
  onBroken(reason: Reason): void;
}

/** A response that tells its owner, if it has one, and then its connection. */
export class GatewayResponse extends ServerResponse<IncomingMessage> {
  owner: ResponseOwner | null = null;
  /** Where the next request of the connection waits for this one; null for a request that has not begun. */
  turn: { next(): void } | null = null;
  /** The connection ends with this answer, but only when the client has had time to stop sending. */
  lingers = false;

  finish(body = '', encoding: 'latin1' | 'utf8' = 'utf8'): void {
    if (body === '') this.end();
    else this.end(body, encoding);
  }

  relayHead(status: number, reasonPhrase: string, head: ResponseHead, own: string[]): void {
    if (head.hasDate) this.sendDate = false;
    this.writeHead(status, reasonPhrase, [...head.fields, ...own]);
  }

  /**
   * To be called between the head and the end of an answer that comes before the request's body is complete. Closed at
   * once, the connection would be reset by what is still arriving, and the answer lost with it (RFC 9112 §9.6); so
   * node is kept from closing it.
   */
  linger(): void {
    this.lingers = true;
    Object.assign(this, { _last: false });
  }
}

export function tellDrain(this: GatewayResponse): void {
  this.owner?.onDrain();
}

export function tellClose(this: GatewayResponse): void {
  this.owner?.onClose();
  this.turn?.next();
}
