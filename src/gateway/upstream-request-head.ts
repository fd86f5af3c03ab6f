import type { UpstreamRequest } from './upstream-call.ts';
import { RequestUnwritable } from './upstream-failure.ts';

/** All that a head may consist of (RFC 9112 §3, RFC 9110 §5.5): no other control character, nothing beyond one byte. */
const NOT_IN_A_HEAD = /[^\t\r\n\x20-\x7e\x80-\xff]/;
/** What would end a method or a target early. */
const NOT_IN_A_REQUEST_LINE = /[\s\x00-\x20\x7f]/;

/**
 * The head of a request as it is sent (latin1), its blank line included. Throws RequestUnwritable when a part of it
 * would be read as anything but that part: the fields came through strict parsers, and this is the last look at them.
 */
export function requestHead({ method, target, fields }: UpstreamRequest): string {
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  head += '\r\n';
  const lines = fields.length / 2 + 2;
  if (
    NOT_IN_A_REQUEST_LINE.test(method) ||
    NOT_IN_A_REQUEST_LINE.test(target) ||
    NOT_IN_A_HEAD.test(head) ||
    count(head, '\r\n') !== lines ||
    count(head, '\n') !== lines ||
    count(head, '\r') !== lines
  ) {
    throw new RequestUnwritable();
  }
  return head;
}

function count(text: string, part: string): number {
  let found = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) found += 1;
  return found;
}
