import { type AddressRange, parseAddress, rangeContains } from '../base/address-range.ts';
import { equalDigests } from '../base/encoding.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Principal } from '../model/principal.ts';
import type { TokenRecord } from '../model/token-record.ts';
import type { Store, StoredToken } from '../store/token-store.ts';
import { digestToken, parseToken } from '../token/opaque-format.ts';
import type { FieldError, LifecycleContext } from './context.ts';
import { parseIpBlock } from './ip-block.ts';
import { type MarkRequest, requestForToken } from './mark.ts';
import { parseTimestamp } from './timestamp.ts';

const PAGE = 500;

/** Which tokens are meant: those that fit every selector that is given. At least one is. */
export interface RevocationSelector {
  readonly subject?: string;
  readonly owner?: string;
  readonly class?: string;
  /** Id of a token; of a token of somebody else its `jti`. */
  readonly jti?: string;
  /** Of tokens of others; those of this gateway have none, so that it fits none of them. */
  readonly issuer?: string;
  /** RFC 3339, exclusive. By `created_at`, for whoever stole a token may have rotated it since; of tokens of others by `iat`. */
  readonly issued_before?: string;
  /** An address or CIDR block, in which the token, or one of its older generations, was last used. */
  readonly seen_from?: string;
  /** A whole token, of whatever generation. Never written anywhere. */
  readonly token?: string;
}

export interface Selection {
  readonly fits: (stored: StoredToken) => boolean;
  /** For the store's own index. */
  readonly filter: { readonly owner?: string; readonly class?: string; readonly subject?: string };
  /** Set where at most one token can fit. */
  readonly id: string | null;
  /** False where nothing can. */
  readonly possible: boolean;
  /** True where tokens that do not exist yet could fit. */
  readonly open: boolean;
  /** What it selects of the tokens that others issued; null: none of them. */
  readonly foreign: MarkRequest | null;
}

export function compileSelector(
  context: LifecycleContext,
  selector: RevocationSelector,
  presented: Principal | null = null,
): Result<Selection, readonly FieldError[]> {
  const errors: FieldError[] = [];
  const given = Object.values(selector).filter((value) => value !== undefined);
  if (given.length === 0) errors.push({ path: '', message: NO_SELECTOR });
  for (const name of ['subject', 'owner', 'class', 'jti', 'issuer', 'token'] as const) {
    if (selector[name] === '') errors.push({ path: name, message: 'must not be empty' });
  }
  const tests: ((stored: StoredToken) => boolean)[] = [];
  const { subject, owner, jti, issuer, issued_before, seen_from, token } = selector;
  const filter = definedOnly({ subject, owner, class: selector.class });
  let before: number | null = null;
  if (issued_before !== undefined) {
    const parsed = parseTimestamp(issued_before);
    if (!parsed.ok) errors.push({ path: 'issued_before', message: parsed.error });
    else before = parsed.value;
  }
  if (seen_from !== undefined) {
    const block = parseIpBlock(seen_from);
    if (!block.ok) errors.push({ path: 'seen_from', message: block.error });
    else tests.push((stored) => seenFrom(stored, block.value));
  }
  if (errors.length > 0) return err(errors);
  if (before !== null) {
    const bound = before;
    tests.push(({ record }) => record.created_at < bound);
  }
  let id = jti ?? null;
  let possible = issuer === undefined && (id === null || /^[0-9A-Za-z]{12}$/.test(id));
  if (token !== undefined) {
    const parsed = parseToken(token);
    if (!parsed.ok || (id !== null && id !== parsed.value.id)) possible = false;
    else {
      id = parsed.value.id;
      const digest = Buffer.from(digestToken(token, context.tokens.pepper), 'latin1');
      // The id stands in the token for all to see; only the digest shows that the secret is one of it.
      tests.push(({ record }) => digestsOf(record).some((known) => equalDigests(Buffer.from(known, 'latin1'), digest)));
    }
  }
  const named = Object.entries(filter) as [keyof typeof filter, string][];
  tests.push(({ record }) => named.every(([name, value]) => record[name] === value));
  const inThePast = before !== null && before <= context.clock.now();
  return ok({
    fits: (stored) => tests.every((test) => test(stored)),
    filter,
    id,
    possible,
    open: id === null && !inThePast,
    foreign: foreignRequest(selector, before, presented),
  });
}

/** Tokens of others have neither owner nor class here, and nobody notes from where they are used. */
function foreignRequest(
  selector: RevocationSelector,
  issuedBefore: number | null,
  presented: Principal | null,
): MarkRequest | null {
  const { subject = null, jti = null, issuer = null, owner, class: name, seen_from, token } = selector;
  if (owner !== undefined || name !== undefined || seen_from !== undefined) return null;
  const request = { tokenId: null, subject, jti, issuer, issuedBefore, expiresAt: null };
  if (token === undefined) return request;
  // Whose issuer nobody has asked about it, or not one of others.
  if (presented === null || presented.foreign === null) return null;
  const { foreign } = presented;
  const fits =
    (subject === null || subject === foreign.subject) &&
    (jti === null || jti === foreign.jti) &&
    (issuer === null || issuer === foreign.issuer) &&
    (issuedBefore === null || foreign.issuedAt === null || foreign.issuedAt < issuedBefore);
  return fits ? requestForToken(presented) : null;
}

const NO_SELECTOR =
  'needs at least one of subject, owner, class, jti, issuer, issued_before, seen_from, token: nothing selects everything by mistake';

function digestsOf(record: TokenRecord): string[] {
  return [record.digest, ...record.superseded.map(({ digest }) => digest)];
}

function seenFrom({ record, usage }: StoredToken, block: AddressRange): boolean {
  return [usage.last_used_ip, ...record.superseded.map(({ last_used_ip }) => last_used_ip)].some((text) => {
    const address = text === null ? null : parseAddress(text);
    return address !== null && rangeContains(block, address);
  });
}

function definedOnly<T extends Readonly<Record<string, string | undefined>>>(values: T): { [K in keyof T]?: string } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: string };
}

export async function* candidates(context: LifecycleContext, selection: Selection): AsyncGenerator<StoredToken> {
  if (!selection.possible) return;
  if (selection.id !== null) {
    const stored = await context.store.load(selection.id);
    if (stored !== null && selection.fits(stored)) yield stored;
    return;
  }
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<Store['list']>> = await context.store.list(selection.filter, {
      limit: PAGE,
      cursor,
      now: context.clock.now(),
    });
    for (const stored of page.tokens) if (selection.fits(stored)) yield stored;
    cursor = page.cursor;
  } while (cursor !== null);
}
