import { type IncomingMessage, ServerResponse } from 'node:http';

/** What wants to know of a response's progress. One object instead of three closures for each request. */
export interface ResponseOwner {
  /** The client takes data again. */
  onDrain(): void;
  /** The response is over: written out, or the client is gone. Exactly once. */
  onClose(): void;
}

/** A response that tells its owner, if it has one. */
export class GatewayResponse extends ServerResponse<IncomingMessage> {
  owner: ResponseOwner | null = null;
}

export function tellDrain(this: GatewayResponse): void {
  this.owner?.onDrain();
}

export function tellClose(this: GatewayResponse): void {
  this.owner?.onClose();
}
