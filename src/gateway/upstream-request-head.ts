import type { UpstreamRequest } from './upstream-call.ts';
import { RequestUnwritable } from './upstream-failure.ts';

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DELETE = 0x7f;

/**
 * The head of a request as it is sent (latin1), its blank line included. Throws RequestUnwritable when a part of it
 * would be read as anything but that part: the fields came through strict parsers, and this is the last look at them.
 */
export function requestHead({ method, target, fields }: UpstreamRequest): string {
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  head += '\r\n';
  if (!isToken(method) || !isToken(target) || countLines(head) !== fields.length / 2 + 2) {
    throw new RequestUnwritable();
  }
  return head;
}

/** Not empty, visible ASCII only: nothing that would end a method or a target (RFC 9112 §3) early. */
function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code <= SPACE || code >= DELETE) return false;
  }
  return text.length > 0;
}

/**
 * How many lines the text has, or -1 where it holds what no head may (RFC 9110 §5.5): a CR or LF by itself, another
 * control character, or a character beyond one byte. Of such a one latin1 would write the low byte, and that of U+010A
 * is a line feed.
 */
function countLines(text: string): number {
  let lines = 0;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code >= SPACE && code !== DELETE && code <= 0xff) continue;
    if (code === CR && text.charCodeAt(i + 1) === LF) {
      lines += 1;
      i += 1;
    } else if (code !== TAB) return -1;
  }
  return lines;
}
