import type { Reason } from '../model/reason.ts';
import { BodyTooLarge } from './request-body.ts';

/** An answer that cannot be read in exactly one way, or that must not be relayed. */
export class UpstreamInvalid extends Error {
  constructor(what: string) {
    super(`the upstream sent ${what}`);
    this.name = 'UpstreamInvalid';
  }
}

/** The connection ended before the answer did. */
export class UpstreamLost extends Error {
  readonly code = 'UPSTREAM_LOST';

  constructor() {
    super('the upstream ended the connection before its answer was complete');
    this.name = 'UpstreamLost';
  }
}

/** `what` did not come in its time: a connection, or an answer. */
export class UpstreamTimeout extends Error {
  readonly code = 'UPSTREAM_TIMEOUT';

  constructor(what: string) {
    super(`${what} within the time that the upstream has`);
    this.name = 'UpstreamTimeout';
  }
}

/** The upstream has as many connections as it may have. */
export class UpstreamFull extends Error {
  readonly code = 'UPSTREAM_FULL';

  constructor() {
    super('the upstream has as many connections as it may have');
    this.name = 'UpstreamFull';
  }
}

/** The request holds a character that would be read as something else. */
export class RequestUnwritable extends Error {
  readonly code = 'REQUEST_UNWRITABLE';

  constructor() {
    super('the request cannot be written as HTTP/1.1');
    this.name = 'RequestUnwritable';
  }
}

/** How a failure between gateway and upstream is told to the client, by error code; one table, no texts compared. */
const REASON_BY_CODE: Readonly<Record<string, Reason>> = {
  ECONNREFUSED: 'upstream_unreachable',
  ECONNRESET: 'upstream_unreachable',
  ENOTFOUND: 'upstream_unreachable',
  EAI_AGAIN: 'upstream_unreachable',
  EHOSTUNREACH: 'upstream_unreachable',
  ENETUNREACH: 'upstream_unreachable',
  EPIPE: 'upstream_unreachable',
  EHOSTDOWN: 'upstream_unreachable',
  ENETDOWN: 'upstream_unreachable',
  ECONNABORTED: 'upstream_unreachable',
  EAI_FAIL: 'upstream_unreachable',
  EAI_NODATA: 'upstream_unreachable',
  // ::1 on a host without IPv6, for one.
  EADDRNOTAVAIL: 'upstream_unreachable',
  // A firewall of this host.
  EACCES: 'upstream_unreachable',
  EPERM: 'upstream_unreachable',
  EMFILE: 'overloaded',
  ENFILE: 'overloaded',
  ENOBUFS: 'overloaded',
  ENOMEM: 'overloaded',
  EAI_MEMORY: 'overloaded',
  UPSTREAM_FULL: 'overloaded',
  UPSTREAM_LOST: 'upstream_unreachable',
  UPSTREAM_TIMEOUT: 'upstream_timeout',
  REQUEST_UNWRITABLE: 'request_malformed',
  // The handshakes of WebSockets, which undici carries.
  UND_ERR_SOCKET: 'upstream_unreachable',
  UND_ERR_CONNECT_TIMEOUT: 'upstream_timeout',
  ECONNECT_TIMEOUT: 'upstream_timeout',
  ETIMEDOUT: 'upstream_timeout',
  UND_ERR_HEADERS_TIMEOUT: 'upstream_timeout',
  UND_ERR_BODY_TIMEOUT: 'upstream_timeout',
  UND_ERR_HEADERS_OVERFLOW: 'upstream_invalid',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'upstream_invalid',
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: 'request_malformed',
  UND_ERR_INVALID_ARG: 'request_malformed',
};

export function reasonOfFailure(error: unknown): Reason {
  if (error instanceof BodyTooLarge) return 'body_too_large';
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code.startsWith('HPE_')) return 'upstream_invalid';
  if (error instanceof AggregateError) return reasonOfFailure(error.errors[0]);
  return REASON_BY_CODE[code] ?? 'upstream_invalid';
}
