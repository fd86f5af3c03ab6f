import { fieldLines, fitIntoLines, isVisibleAscii } from './message-text.ts';
import type { UpstreamRequest } from './upstream-call.ts';
import { RequestUnwritable } from './upstream-failure.ts';

/**
 * The head of a request as it is sent (latin1), its blank line included. Throws RequestUnwritable when a part of it
 * would be read as anything but that part: the fields came through strict parsers, and this is the last look at them.
 */
export function requestHead({ method, target, lines, fields }: UpstreamRequest): string {
  if (!isVisibleAscii(method) || !isVisibleAscii(target) || !fitIntoLines(fields)) throw new RequestUnwritable();
  return `${method} ${target} HTTP/1.1\r\n${lines}${fieldLines(fields)}\r\n`;
}

/** Fields (name and value in turn) as lines of a head. Throws RequestUnwritable where one would be read as anything but itself. */
export function checkedLines(fields: readonly string[]): string {
  if (!fitIntoLines(fields)) throw new RequestUnwritable();
  return fieldLines(fields);
}
