/** An answer as its bytes say it. */
export interface RawAnswer {
  readonly status: number;
  readonly phrase: string;
  /** Names in lower case, values as they came. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  /** False when the message breaks off: fewer bytes than announced, or no last chunk. */
  readonly complete: boolean;
  readonly trailers: string;
  /** Status codes of the interim answers before it. */
  readonly interim: readonly number[];
  /** What follows the message on its connection. */
  readonly rest: string;
}

/** Reads the first final answer of a text (bytes as latin1), the way a client must (RFC 9112 §6.3). Throws where it is none. */
export function readAnswer(text: string, method = 'GET'): RawAnswer {
  const interim: number[] = [];
  for (let at = 0; ; ) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) throw new Error(`no answer in ${JSON.stringify(text)}`);
    const [line = '', ...fields] = text.slice(at, end).split('\r\n');
    const start = /^HTTP\/1\.1 (\d{3}) ([^\r\n]*)$/.exec(line);
    if (start === null) throw new Error(`not a status line: ${JSON.stringify(line)}`);
    const status = Number(start[1]);
    const headers = fields.map((field): [string, string] => {
      const parts = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*)$/.exec(field);
      if (parts === null) throw new Error(`not a field: ${JSON.stringify(field)}`);
      return [parts[1]?.toLowerCase() ?? '', parts[2] ?? ''];
    });
    at = end + 4;
    if (status >= 200) {
      const head = { status, phrase: start[2] ?? '', headers, interim };
      return { ...head, ...readBody(text.slice(at), headers, method === 'HEAD' || status === 204 || status === 304) };
    }
    interim.push(status);
  }
}

export function valuesOf(answer: Pick<RawAnswer, 'headers'>, name: string): string[] {
  return answer.headers.filter(([known]) => known === name).map(([, value]) => value);
}

function readBody(
  text: string,
  headers: readonly (readonly [string, string])[],
  bodiless: boolean,
): Pick<RawAnswer, 'body' | 'complete' | 'trailers' | 'rest'> {
  if (bodiless) return { body: '', complete: true, trailers: '', rest: text };
  const lengths = valuesOf({ headers }, 'content-length');
  const codings = valuesOf({ headers }, 'transfer-encoding');
  if (lengths.length + codings.length > 1) throw new Error('two framings');
  if (lengths.length === 1) {
    const length = Number(lengths[0]);
    return { body: text.slice(0, length), complete: text.length >= length, trailers: '', rest: text.slice(length) };
  }
  if (codings.length === 0) return { body: text, complete: true, trailers: '', rest: '' };
  let body = '';
  let at = 0;
  for (;;) {
    const line = /^([0-9A-Fa-f]+)\r\n/.exec(text.slice(at));
    if (line === null) return { body: body + text.slice(at), complete: false, trailers: '', rest: '' };
    const length = Number.parseInt(line[1] ?? '', 16);
    at += line[0].length;
    if (length === 0) {
      const last = /^((?:[^\r\n]+\r\n)*)\r\n/.exec(text.slice(at));
      if (last === null) return { body, complete: false, trailers: '', rest: '' };
      return { body, complete: true, trailers: last[1] ?? '', rest: text.slice(at + last[0].length) };
    }
    body += text.slice(at, at + length);
    if (text.length < at + length + 2) return { body, complete: false, trailers: '', rest: '' };
    at += length + 2;
  }
}
