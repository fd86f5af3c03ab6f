import { MCP_NAME_CHARS, type McpMessage, TOOL_METHOD } from '../model/mcp-message.ts';

/** Nesting of one message; arguments of tools are seldom deeper than ten. */
const MOST_LEVELS = 128;

/** Members that somebody acts on, by the object that they stand in. */
const KNOWN = {
  message: new Set(['jsonrpc', 'id', 'method', 'params', 'result', 'error']),
  params: new Set(['name']),
} as const;

type Level = { readonly place: 'message' | 'params' | 'other'; readonly seen: Set<string> | null; last: string };

/**
 * The one reading of a body as a JSON-RPC 2.0 message, or what is wrong with it, for people. Refused is whatever another parser could
 * read otherwise: bytes that are not UTF-8, a member that stands there twice, a known member in another spelling of upper and
 * lower case (Go's encoding/json takes it for the same), a batch.
 */
export function readMcpMessage(body: Uint8Array): McpMessage | string {
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    parsed = JSON.parse(text);
  } catch {
    return 'The body is not JSON in UTF-8.';
  }
  if (Array.isArray(parsed)) return 'Batches of messages are not taken here; send each by itself.';
  if (!isObject(parsed)) return NO_MESSAGE;
  return ambiguity(text) ?? messageOf(parsed);
}

const NO_MESSAGE = 'The body is not a message of JSON-RPC 2.0.';

function messageOf(message: Readonly<Record<string, unknown>>): McpMessage | string {
  const { jsonrpc, method, params } = own(message, ['jsonrpc', 'method', 'params']);
  if (jsonrpc !== '2.0') return NO_MESSAGE;
  const answers = ['result', 'error'].filter((name) => Object.hasOwn(message, name));
  if (method === undefined) return answers.length === 1 ? { method: null, tool: null } : NO_MESSAGE;
  if (!isName(method) || answers.length > 0) return NO_MESSAGE;
  if (params !== undefined && !isObject(params)) return 'The params of the message are not an object.';
  if (method !== TOOL_METHOD) return { method, tool: null };
  const { name } = own(params ?? {}, ['name']);
  return isName(name) ? { method, tool: name } : 'The message names no tool.';
}

/** Own members only: what is inherited nobody has sent. */
function own(object: object, names: readonly string[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(names.map((name) => [name, Object.getOwnPropertyDescriptor(object, name)?.value]));
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MCP_NAME_CHARS && value.isWellFormed();
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const BRACE = 0x7b;
const BRACE_END = 0x7d;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;

/** Looks through a text that is valid JSON, once, for objects with two readings. Null where there are none. */
function ambiguity(text: string): string | null {
  const levels: Level[] = [];
  let level: Level | undefined;
  let keyNext = false;
  for (let position = 0; position < text.length; position += 1) {
    const code = text.charCodeAt(position);
    if (code === QUOTE) {
      const end = endOfString(text, position);
      if (keyNext && level !== undefined) {
        const name = text.slice(position + 1, end - 1);
        const wrong = wrongMember(level, name.includes('\\') ? String(JSON.parse(`"${name}"`)) : name);
        if (wrong !== null) return wrong;
        keyNext = false;
      }
      position = end - 1;
    } else if (code === COMMA) keyNext = level !== undefined && level.seen !== null;
    else if (code === BRACE || code === BRACKET) {
      if (levels.length >= MOST_LEVELS) return 'The message is nested too deeply.';
      level = { place: placeBelow(level), seen: code === BRACE ? new Set() : null, last: '' };
      levels.push(level);
      keyNext = code === BRACE;
    } else if (code === BRACE_END || code === BRACKET_END) {
      levels.pop();
      level = levels.at(-1);
      keyNext = false;
    }
  }
  return null;
}

function placeBelow(level: Level | undefined): Level['place'] {
  if (level === undefined) return 'message';
  return level.place === 'message' && level.last === 'params' ? 'params' : 'other';
}

/** Behind the closing quotation mark. */
function endOfString(text: string, start: number): number {
  let position = start + 1;
  for (let code = text.charCodeAt(position); code !== QUOTE; code = text.charCodeAt(position)) {
    position += code === BACKSLASH ? 2 : 1;
  }
  return position + 1;
}

function wrongMember(level: Level, name: string): string | null {
  level.last = name;
  const known = level.place === 'other' ? null : KNOWN[level.place];
  const read = known === null ? name : folded(name);
  if (known?.has(read) === true && !known.has(name))
    return `A member of the message is spelled otherwise than "${read}".`;
  if (level.seen?.has(read) === true) return 'A member of the message stands there twice.';
  level.seen?.add(read);
  return null;
}

/** Without upper and lower case, nor their look-alikes (U+017F, U+212A). */
function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}
