/*
 * These look at whole texts with regular expressions, and never at one character after the other: most of the texts are put
 * together or cut out of others, and reaching into such a text costs a detour for each character.
 */

/** What would end a method or a target (RFC 9112 §3) early. */
const NOT_VISIBLE_ASCII = /[^\x21-\x7e]/;
/**
 * What no field or status line may hold (RFC 9110 §5.5): control characters, and characters beyond one byte. Of such a one
 * latin1 would write the low byte, and that of U+010A is a line feed.
 */
const NOT_IN_A_LINE = /[^\t\x20-\x7e\x80-\xff]/;

/** Not empty, visible ASCII only. */
export function isVisibleAscii(text: string): boolean {
  return text !== '' && !NOT_VISIBLE_ASCII.test(text);
}

/** Whether texts that are to stand in the lines of a head would all stay within their lines. */
export function fitIntoLines(texts: readonly string[]): boolean {
  return !NOT_IN_A_LINE.test(texts.join(''));
}

/** Fields as they stand in a head; name and value in turn. */
export function fieldLines(fields: readonly string[]): string {
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) lines += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return lines;
}

/** Name and value in turn, from a section that is known to be valid; without the blanks around values (RFC 9110 §5.5). */
export function splitFields(section: string, start: number): string[] {
  const fields: string[] = [];
  const { length } = section;
  let position = start;
  while (position < length) {
    const colon = section.indexOf(':', position);
    const end = section.indexOf('\r', colon);
    fields.push(section.slice(position, colon), trimmed(section, colon + 1, end));
    position = end + 2;
  }
  return fields;
}

function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
