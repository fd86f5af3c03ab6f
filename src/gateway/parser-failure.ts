import type { Reason } from '../model/reason.ts';

/** What node's HTTP parser or its clock gives up with. */
export interface ParserFailure {
  readonly code?: string | undefined;
  /** The parser's own words. */
  readonly reason?: unknown;
  /** The bytes that were being read, and how far the parser came in them. */
  readonly rawPacket?: unknown;
  readonly bytesParsed?: unknown;
}

const TAB = 0x09;
const FORM_FEED = 0x0c;
const SPACE = 0x20;
const QUESTION = 0x3f;

/**
 * The reason for what node refused before it became a request. A byte that no path may hold raw is refused there as
 * its percent-encoding is here (`canonicalTarget`): as ambiguous in a path, as malformed in a query.
 */
export function reasonOfParserFailure(failure: ParserFailure): Reason {
  switch (failure.code) {
    case 'HPE_HEADER_OVERFLOW':
      return 'headers_too_large';
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'request_timeout';
    case 'HPE_INVALID_URL':
      return isRawByteInPath(failure) ? 'path_ambiguous' : 'request_malformed';
    default:
      return 'request_malformed';
  }
}

/**
 * llhttp names the part of the target that holds a bad byte, except for three of them: CR, TAB and FF end the target
 * for it, and it stumbles over what follows (the words of the second case also stand for a target of no known form).
 */
function isRawByteInPath({ reason, rawPacket, bytesParsed }: ParserFailure): boolean {
  if (reason === 'Invalid char in url path') return true;
  if (!Buffer.isBuffer(rawPacket) || typeof bytesParsed !== 'number') return false;
  const before = rawPacket[bytesParsed - 1];
  const ended = reason === 'Invalid characters in url' && (before === TAB || before === FORM_FEED);
  return (ended || reason === 'Expected CRLF') && !isInQuery(rawPacket, bytesParsed - 1);
}

/** As far as can be told: a target that came in several pieces has its question mark in one that is gone. */
function isInQuery(bytes: Buffer, end: number): boolean {
  for (let at = end - 1; at >= 0 && bytes[at] !== SPACE; at -= 1) {
    if (bytes[at] === QUESTION) return true;
  }
  return false;
}
