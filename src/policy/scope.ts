import { err, ok, type Result } from '../base/result.ts';

/** RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ). */
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** The scope that covers every other; only a token of class `admin` may hold it. */
export const EVERY_SCOPE = '*';

/**
 * Whether one granted scope covers one required scope: the same, or `a:*` for `a:b` and `a:b:c` (not for `a`). An
 * asterisk anywhere else is a plain character, and `*` alone covers nothing here: see `holdsScope`.
 */
export function grantsScope(granted: string, required: string): boolean {
  if (granted === required) return granted !== EVERY_SCOPE;
  const stem = granted.length - 1;
  return (
    stem >= 2 &&
    required.length > stem &&
    granted.charCodeAt(stem) === 0x2a &&
    granted.charCodeAt(stem - 1) === 0x3a &&
    required.startsWith(granted.slice(0, stem))
  );
}

/** Whether a list of granted scopes covers one required scope. `everyScope`: whether `*` alone counts. */
export function holdsScope(granted: readonly string[], required: string, everyScope: boolean): boolean {
  for (const scope of granted) {
    if (grantsScope(scope, required) || (everyScope && scope === EVERY_SCOPE)) return true;
  }
  return false;
}

/**
 * Whether every requested scope, itself perhaps a wildcard, is covered by the bounds. `*` in the bounds covers all, so
 * bounds must come from a place that may hold it (class `admin`).
 */
export function scopesWithin(requested: readonly string[], bounds: readonly string[]): boolean {
  return requested.every((scope) => scopeWithin(scope, bounds));
}

export function scopeWithin(requested: string, bounds: readonly string[]): boolean {
  return holdsScope(bounds, requested, true);
}

/** A scope that a rule asks for: literal, because whoever asks must know what. */
export function parseRequiredScope(text: string): Result<string, string> {
  if (!SCOPE_TOKEN.test(text)) return err(notAToken(text));
  if (!text.includes('*')) return ok(text);
  return err(`a required scope is literal, got ${JSON.stringify(text)}; only a granted scope may hold a "*"`);
}

/** A scope that is granted: literal, or with `:*` at its end. `*` alone where `everyScope` says so. */
export function parseGrantedScope(text: string, everyScope: boolean): Result<string, string> {
  if (!SCOPE_TOKEN.test(text)) return err(notAToken(text));
  if (text === EVERY_SCOPE) {
    return everyScope
      ? ok(text)
      : err('"*" alone may only be granted to class "admin"; name what is granted, as in "orders:*"');
  }
  const stem = text.endsWith(':*') ? text.slice(0, -2) : text;
  if (stem !== '' && !stem.includes('*')) return ok(text);
  const start = text.slice(0, text.indexOf('*')).replace(/:$/, '');
  return err(
    `a "*" may only stand for what follows a colon, at the end, got ${JSON.stringify(text)}${start === '' ? '' : `; did you mean "${start}:*"?`}`,
  );
}

function notAToken(text: string): string {
  const parts = text.split(/[\s,]+/).filter((part) => part !== '');
  const hint =
    parts.length > 1 && parts.every((part) => SCOPE_TOKEN.test(part)) ? `; did you mean [${parts.join(', ')}]?` : '';
  return `${JSON.stringify(text)} is not a scope: printable ASCII without spaces, quotes and backslashes${hint}`;
}
