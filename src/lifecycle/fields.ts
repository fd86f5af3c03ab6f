import type { Claims, ClaimValue, TokenBinding } from '../model/token-record.ts';
import type { FieldError } from './context.ts';
import { parseIpBlock } from './ip-block.ts';

/** Bounds of what a record may hold, beside those of `base/limits.ts`. */
export const FIELD_LIMITS = {
  /** `name`, `owner`, `subject`, `reason`, characters. */
  text: 200,
  /** One scope or role name, characters. */
  nameLength: 128,
  scopes: 100,
  roles: 20,
  ip: 100,
  /** Claims as JSON, bytes. */
  claimsBytes: 8 * 1024,
  /** Levels of claims, the object itself included. */
  claimsDepth: 5,
} as const;

const TEXT = /^[\p{L}\p{M}\p{N}\p{P}\p{S}](?:[\p{L}\p{M}\p{N}\p{P}\p{S} ]*[\p{L}\p{M}\p{N}\p{P}\p{S}])?$/u;
const ASCII_TEXT = /^[!-~](?:[ -~]*[!-~])?$/;

/** The errors of members that were given: what stands in for the others, or comes from the record, is nobody's mistake. */
export function errorsOfGiven(errors: readonly FieldError[], given: object): readonly FieldError[] {
  return errors.filter(({ path }) => Object.hasOwn(given, path.split(/[.[]/, 1)[0] ?? ''));
}

/** A line that people read: printable, no control characters, no white space at its ends. */
export function checkText(path: string, value: string): FieldError[] {
  if (value === '') return [{ path, message: 'must not be empty' }];
  if (value.length > FIELD_LIMITS.text) {
    return [{ path, message: `is ${value.length} characters long, at most ${FIELD_LIMITS.text} are allowed` }];
  }
  // The bound above keeps the pattern's work small.
  return TEXT.test(value)
    ? []
    : [{ path, message: 'must be one printable line without control characters or white space at its ends' }];
}

/** A subject travels to the upstream in a header field, so it is ASCII besides (RFC 9110 §5.5). */
export function checkSubject(path: string, value: string): FieldError[] {
  const errors = checkText(path, value);
  if (errors.length > 0 || ASCII_TEXT.test(value)) return errors;
  return [{ path, message: 'must consist of printable ASCII characters' }];
}

/** Bounds of a list of scopes or roles; what the names mean is the policy's to say. */
export function checkNames(path: string, list: readonly string[], most: number): FieldError[] {
  const tooMany = checkCount(path, list, most);
  if (tooMany.length > 0) return tooMany;
  return list.flatMap((name, index) =>
    name.length <= FIELD_LIMITS.nameLength
      ? []
      : [{ path: `${path}[${index}]`, message: `is longer than ${FIELD_LIMITS.nameLength} characters` }],
  );
}

function checkCount(path: string, list: readonly string[], most: number): FieldError[] {
  return list.length > most ? [{ path, message: `has ${list.length} entries, at most ${most} are allowed` }] : [];
}

export function checkIpList(path: string, list: readonly string[]): FieldError[] {
  const tooMany = checkCount(path, list, FIELD_LIMITS.ip);
  if (tooMany.length > 0) return tooMany;
  return list.flatMap((text, index) => {
    const block = parseIpBlock(text);
    return block.ok ? [] : [{ path: `${path}[${index}]`, message: block.error }];
  });
}

/** SHA-256 in base64url without padding; the last character holds four bits (RFC 4648 §3.5). */
const THUMBPRINT = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** Thumbprints of 32 bytes, at least one. Null: a bearer token. */
export function checkBinding(path: string, binding: TokenBinding | null): FieldError[] {
  if (binding === null) return [];
  const members = Object.entries(binding).filter(([, value]) => value !== undefined);
  if (members.length === 0) return [{ path, message: 'needs jkt, x5t#S256 or both; leave it out for a bearer token' }];
  return members.flatMap(([name, value]) =>
    THUMBPRINT.test(value)
      ? []
      : [{ path: `${path}.${name}`, message: 'must be a SHA-256 thumbprint: 43 characters of base64url' }],
  );
}

export function checkClaims(path: string, claims: Claims): FieldError[] {
  if (depthExceeds(claims, FIELD_LIMITS.claimsDepth)) {
    return [{ path, message: `is nested deeper than ${FIELD_LIMITS.claimsDepth} levels` }];
  }
  const bytes = Buffer.byteLength(JSON.stringify(claims));
  if (bytes > FIELD_LIMITS.claimsBytes) {
    return [{ path, message: `takes ${bytes} bytes as JSON, at most ${FIELD_LIMITS.claimsBytes} are allowed` }];
  }
  return Object.entries(claims).flatMap(([name, value]) => checkClaim(`${path}.${name}`, name, value));
}

function checkClaim(path: string, name: string, value: ClaimValue): FieldError[] {
  // `__proto__` would vanish wherever the claims are copied by assignment.
  if (name === '__proto__' || checkText(path, name).length > 0) {
    return [{ path: 'claims', message: `${JSON.stringify(name.slice(0, 64))} cannot be the name of a claim` }];
  }
  return hasOnlyFiniteNumbers(value) ? [] : [{ path, message: 'holds a number that JSON cannot express' }];
}

function depthExceeds(value: ClaimValue, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner: ClaimValue) => depthExceeds(inner, levels - 1));
}

function hasOnlyFiniteNumbers(value: ClaimValue): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.values(value).every(hasOnlyFiniteNumbers);
}
