/** What the driver saw, all times on its own monotonic clock, milliseconds. */
export interface SentRequest {
  /** The token's id. */
  readonly token: string;
  readonly replica: string;
  readonly sentAt: number;
  readonly answeredAt: number;
  /** 0: no answer came. */
  readonly status: number;
  readonly reason: string | null;
}

/** An event stream that was let in, until it ended or the driver left it. */
export interface OpenStream {
  readonly token: string;
  readonly replica: string;
  /** When the upstream sent the last event that arrived. */
  readonly lastSentAt: number;
}

/** The life of one token. */
export interface TokenLife {
  readonly token: string;
  /** When the first call to revoke it was sent; Infinity: never. */
  readonly revokeSentAt: number;
  /** When a call to revoke it returned success; Infinity: none has. */
  readonly revokedAt: number;
}

/** Statuses that say nothing about the token: no answer, and 503 while the store or the replica is away. */
const NO_VERDICT: ReadonlySet<number> = new Set([0, 503]);

/** Everything in a history that breaks the promise, in words, oldest first. */
export function brokenPromises(
  requests: readonly SentRequest[],
  lives: readonly TokenLife[],
  streams: readonly OpenStream[] = [],
): string[] {
  const known = new Map(lives.map((life) => [life.token, life]));
  return [
    ...requests.map((request) => brokenBy(request, known.get(request.token))),
    ...streams.map((stream) => leftOpen(stream, known.get(stream.token))),
  ]
    .filter((text) => text !== null)
    .sort();
}

/** What was on its way when the revocation returned may still arrive; what the upstream sent later may not. */
function leftOpen({ token, replica, lastSentAt }: OpenStream, life: TokenLife | undefined): string | null {
  const late = lastSentAt - (life?.revokedAt ?? Number.NEGATIVE_INFINITY);
  if (late <= 0) return null;
  const at = lastSentAt.toFixed(1).padStart(9);
  return `at ${at} ms ${replica}, token ${token}: an open stream went on for ${late.toFixed(1)} ms after its revocation returned`;
}

function brokenBy(request: SentRequest, life: TokenLife | undefined): string | null {
  const { token, replica, sentAt, answeredAt, status, reason } = request;
  const told = `at ${sentAt.toFixed(1).padStart(9)} ms ${replica}, token ${token}`;
  if (life === undefined) return `${told}: is not a token of this history`;
  if (status === 200) {
    if (sentAt <= life.revokedAt) return null;
    return `${told}: let in, ${(sentAt - life.revokedAt).toFixed(1)} ms after its revocation returned`;
  }
  if (status === 401) {
    if (answeredAt < life.revokeSentAt) return `${told}: 401 ${reason} for a valid token`;
    return reason === 'token_revoked' ? null : `${told}: 401 ${reason} for a revoked token`;
  }
  return NO_VERDICT.has(status) ? null : `${told}: answered ${status} ${reason}`;
}
