import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { ResponseOwner } from './gateway-response.ts';
import type { SectionMemo } from './header-section.ts';
import type { ResponseHead } from './response-head.ts';

/** What the gateway asks of a request. One with a body is an IncomingMessage of node's. */
export interface ClientRequest {
  readonly method?: string | undefined;
  /** The request-target (RFC 9112 §3.2), latin1. */
  readonly url?: string | undefined;
  /** `1.1`. */
  readonly httpVersion: string;
  /** Name and value in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingHttpHeaders;
  readonly socket: Socket;
  /** All of the body has arrived. */
  readonly complete: boolean;
  /** Set where the same header section is expected to come again. */
  readonly memo?: SectionMemo | undefined;
  resume(): unknown;
}

/** What the gateway asks of a response: the part of node's ServerResponse that it uses, in the same sense. */
export interface ClientResponse {
  owner: ResponseOwner | null;
  /** Where the next request of the connection waits for this one; null for a request that has not begun. */
  turn: { next(): void } | null;
  readonly lingers: boolean;
  readonly headersSent: boolean;
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  readonly writableFinished: boolean;
  readonly chunkedEncoding: boolean;
  writeContinue(): void;
  writeInformation(status: number, fields: string[]): unknown;
  writeHead(status: number, reasonPhrase: string, fields: string[]): unknown;
  /** The head of an upstream's answer, with further fields of the gateway's own. */
  relayHead(status: number, reasonPhrase: string, head: ResponseHead, own: string[]): unknown;
  flushHeaders(): void;
  /** `written` is called when the bytes are no longer needed, with an error where they could not be written. */
  write(part: Buffer, written?: (error?: Error | null) => void): boolean;
  addTrailers(trailers: [string, string][]): void;
  /** Ends the answer; with its last part, which may be all of it, or without one. */
  finish(body?: string, encoding?: 'latin1' | 'utf8'): void;
  linger(): void;
  destroy(): unknown;
}
