import type { CompiledPolicy, CompiledRule, SourcePlace } from './compiled-policy.ts';
import {
  type RecordedEvent,
  type RecordedRequest,
  type ReplayedOutcome,
  readRecordedRequest,
} from './recorded-request.ts';
import { type Redecision, type ReplayOptions, redecide, type UndecidableCause } from './replay.ts';

/** What changes for the client, or, with `would-deny`, for whoever watches a policy that only reports. */
export type FlipKind = 'allow-to-deny' | 'deny-to-allow' | 'allow-to-would-deny' | 'would-deny-to-allow';

export interface FlippedToken {
  /** Public id; null for requests without a token. */
  readonly token_id: string | null;
  readonly owner: string | null;
  readonly requests: number;
  /** `GET /orders/7`: the first one. */
  readonly example: string;
}

/** Requests that flip in the same way: decided by the same rule then, by the same rule now, with the same reason. */
export interface FlipGroup {
  readonly change: FlipKind;
  readonly from: {
    readonly outcome: ReplayedOutcome;
    readonly reason: string | null;
    readonly api: string | null;
    readonly rule: string | null;
  };
  readonly to: {
    readonly outcome: ReplayedOutcome;
    readonly reason: string | null;
    readonly api: string | null;
    readonly rule: string | null;
    readonly source: SourcePlace | null;
  };
  readonly requests: number;
  readonly tokens: number;
  /** RFC 3339 times of the first and last event. */
  readonly first: string;
  readonly last: string;
  /** The tokens with the most requests first. */
  readonly by_token: readonly FlippedToken[];
}

export interface ReplayReport {
  /** Version of the policies that were asked. */
  readonly policy: string;
  readonly enforce: boolean;
  /** RFC 3339; null without requests. */
  readonly first: string | null;
  readonly last: string | null;
  readonly requests: number;
  /** Same outcome as recorded; `reason_changed` of them for another reason. */
  readonly unchanged: number;
  readonly reason_changed: number;
  /** Refused, or answered by the gateway itself, whatever the policies say. */
  readonly outside: number;
  /** Let in by a rule with a rate limit: whether it would have held them back is not replayed. */
  readonly rate_limited_rules: number;
  readonly undecidable: number;
  readonly undecidable_by: readonly {
    readonly cause: UndecidableCause;
    readonly type: string;
    readonly requests: number;
  }[];
  readonly totals: Readonly<Record<FlipKind, { readonly requests: number; readonly tokens: number }>>;
  /** More tokens flip than are told apart: their numbers are lower bounds. */
  readonly tokens_cut: boolean;
  readonly flips: readonly FlipGroup[];
}

/** Pairs of flip and token that are told apart. Tokens are few beside requests, but the memory stays bounded anyhow. */
const MOST_TOKENS = 100_000;
/** Groups that are told apart; rules are few, and their number is the operator's. */
const MOST_GROUPS = 10_000;

interface Group {
  readonly change: FlipKind;
  readonly from: FlipGroup['from'];
  readonly to: FlipGroup['to'];
  requests: number;
  first: string;
  last: string;
  readonly tokens: Map<string | null, { owner: string | null; requests: number; example: string }>;
}

/** Decides recorded events again, one after the other, and keeps count of what comes out differently. */
export class Replay {
  readonly #policy: CompiledPolicy;
  readonly #options: ReplayOptions;
  readonly #groups = new Map<string, Group>();
  readonly #undecidable = new Map<string, { cause: UndecidableCause; type: string; requests: number }>();
  readonly #observers: readonly ((recorded: RecordedRequest, decision: Redecision) => void)[];
  #first: string | null = null;
  #last: string | null = null;
  #requests = 0;
  #unchanged = 0;
  #reasonChanged = 0;
  #outside = 0;
  #rateLimitedRules = 0;
  #undecidableRequests = 0;
  #tokenEntries = 0;
  #tokensCut = false;

  constructor(
    policy: CompiledPolicy,
    options: ReplayOptions,
    ...observers: readonly ((recorded: RecordedRequest, decision: Redecision) => void)[]
  ) {
    this.#policy = policy;
    this.#options = options;
    this.#observers = observers;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Events that are not of a request are passed over. */
  add(event: RecordedEvent): void {
    const recorded = readRecordedRequest(event);
    if (recorded === null) {
      if (event.type.startsWith('access.')) this.#seen(event.time);
      if (event.type.startsWith('access.')) this.#outside += 1;
      return;
    }
    this.#seen(event.time);
    const decision = redecide(this.#policy, recorded, this.#options);
    for (const observe of this.#observers) observe(recorded, decision);
    if (decision.kind === 'outside') this.#outside += 1;
    else if (decision.kind === 'undecidable') this.#countUndecidable(decision.cause, event.type);
    else this.#compare(event, recorded, decision);
  }

  #seen(time: string): void {
    this.#requests += 1;
    // RFC 3339 in UTC with a fixed number of digits: the order of texts is that of times.
    if (this.#first === null || time < this.#first) this.#first = time;
    if (this.#last === null || time > this.#last) this.#last = time;
  }

  #countUndecidable(cause: UndecidableCause, type: string): void {
    this.#undecidableRequests += 1;
    const key = `${cause} ${type}`;
    const entry = this.#undecidable.get(key) ?? { cause, type, requests: 0 };
    entry.requests += 1;
    this.#undecidable.set(key, entry);
  }

  #compare(event: RecordedEvent, recorded: RecordedRequest, to: Extract<Redecision, { kind: 'decided' }>): void {
    if (to.outcome === 'allow' && to.rule !== null && to.rule.rateLimit !== null) this.#rateLimitedRules += 1;
    const change = flipOf(recorded.outcome, to.outcome);
    if (change === null) {
      this.#unchanged += 1;
      // An allowed request may have failed later; its reason is not the policy's.
      if (to.outcome !== 'allow' && to.reason !== recorded.reason) this.#reasonChanged += 1;
      return;
    }
    const { outcome, reason, api, rule } = recorded;
    const from = { outcome, reason: outcome === 'allow' ? null : reason, api, rule };
    const key = JSON.stringify([change, from.reason, api, rule, to.reason, to.rule?.id ?? to.api]);
    const group = this.#groups.get(key) ?? this.#newGroup(key, change, from, to, event.time);
    group.requests += 1;
    if (event.time < group.first) group.first = event.time;
    if (event.time > group.last) group.last = event.time;
    this.#countToken(group, event, recorded);
  }

  #newGroup(
    key: string,
    change: FlipKind,
    from: Group['from'],
    to: Extract<Redecision, { kind: 'decided' }>,
    time: string,
  ): Group {
    // Recorded names of rules come from a file that anybody may have written.
    const full = this.#groups.size >= MOST_GROUPS;
    const { outcome, reason, api, rule } = to;
    const group: Group = {
      change,
      from: full ? { ...from, api: null, rule: null, reason: null } : from,
      to: { outcome, reason, api, rule: rule?.name ?? null, source: sourceOf(rule) },
      requests: 0,
      first: time,
      last: time,
      tokens: new Map(),
    };
    const kept = full ? JSON.stringify([change, 'others']) : key;
    const known = this.#groups.get(kept);
    if (known !== undefined) return known;
    this.#groups.set(kept, group);
    return group;
  }

  #countToken(group: Group, event: RecordedEvent, { request }: RecordedRequest): void {
    const id = typeof event.token_id === 'string' ? event.token_id : null;
    const known = group.tokens.get(id);
    if (known !== undefined) {
      known.requests += 1;
      return;
    }
    if (this.#tokenEntries >= MOST_TOKENS) {
      this.#tokensCut = true;
      return;
    }
    this.#tokenEntries += 1;
    const owner = typeof event.owner === 'string' ? event.owner : null;
    group.tokens.set(id, { owner, requests: 1, example: `${request.method} ${request.path}`.slice(0, 200) });
  }

  report(): ReplayReport {
    const groups = [...this.#groups.values()].toSorted((a, b) => b.requests - a.requests);
    return {
      policy: this.#policy.version,
      enforce: this.#options.enforce,
      first: this.#first,
      last: this.#last,
      requests: this.#requests,
      unchanged: this.#unchanged,
      reason_changed: this.#reasonChanged,
      outside: this.#outside,
      rate_limited_rules: this.#rateLimitedRules,
      undecidable: this.#undecidableRequests,
      undecidable_by: [...this.#undecidable.values()].toSorted((a, b) => b.requests - a.requests),
      totals: {
        'allow-to-deny': totalOf(groups, 'allow-to-deny'),
        'deny-to-allow': totalOf(groups, 'deny-to-allow'),
        'allow-to-would-deny': totalOf(groups, 'allow-to-would-deny'),
        'would-deny-to-allow': totalOf(groups, 'would-deny-to-allow'),
      },
      tokens_cut: this.#tokensCut,
      flips: groups.map(described),
    };
  }
}

/** Null where nothing changes. What was or would only be reported is let in. */
function flipOf(from: ReplayedOutcome, to: ReplayedOutcome): FlipKind | null {
  if (from === to) return null;
  if (to === 'deny') return 'allow-to-deny';
  if (from === 'deny') return 'deny-to-allow';
  return to === 'would_deny' ? 'allow-to-would-deny' : 'would-deny-to-allow';
}

function sourceOf(rule: CompiledRule | null): SourcePlace | null {
  return rule === null ? null : rule.source;
}

function totalOf(groups: readonly Group[], change: FlipKind): { readonly requests: number; readonly tokens: number } {
  const own = groups.filter((group) => group.change === change);
  const tokens = new Set(own.flatMap((group) => [...group.tokens.keys()].filter((id) => id !== null)));
  return { requests: own.reduce((sum, group) => sum + group.requests, 0), tokens: tokens.size };
}

function described(group: Group): FlipGroup {
  const { change, from, to, requests, first, last } = group;
  const tokens = [...group.tokens].filter(([id]) => id !== null).length;
  const byToken = [...group.tokens]
    .map(([token_id, entry]) => ({ token_id, ...entry }))
    .toSorted((a, b) => b.requests - a.requests);
  return { change, from, to, requests, tokens, first, last, by_token: byToken };
}
