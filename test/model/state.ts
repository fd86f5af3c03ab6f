/** What is explored: how large the small world is, and what may go wrong in it. */
export interface World {
  readonly replicas: 1 | 2;
  /** Length of the lease in ticks. A tick may fall between any two steps. */
  readonly lease: number;
  /** Entries of other tokens that may be appended. */
  readonly otherEntries: number;
  /** Times the store may lose something: its log's beginning, its log's end, or everything. */
  readonly storeLosses: number;
  /** Renewals that the replica has given up and that reach the store nevertheless. */
  readonly strays: number;
  /** Somebody forgets replicas that seem dead. */
  readonly forgetting: boolean;
  readonly streams: boolean;
  /** Replicas hear of the entry by a hint, at any time after the append, and apply it before they renew; or of a made-up one. */
  readonly hints: boolean;
}

/** A place in the log. The number is given again after a loss; together with its history it is unique. */
export interface Position {
  readonly number: number;
  readonly history: number;
}

/** One renewal: on its way to the store, its answer on the way back, or received and not yet applied. */
export interface Renewal {
  readonly stage: 'none' | 'sent' | 'answered' | 'received';
  /** Ticks since it was sent. */
  readonly age: number;
  readonly last: Position;
  /** The entries between what the replica has applied and `last` are at hand, or why not. */
  readonly entries: 'whole' | 'trimmed' | 'replaced';
  /** The token's entry is one of them. */
  readonly tells: boolean;
}

/** A replica, with what the store's registry holds about it. A pause is nothing but ticks without a step of its own. */
export interface Replica {
  /** History -1: it has just begun. */
  readonly applied: Position;
  /** Ticks since the renewal that counts was sent; at `World.lease` the lease is over. */
  readonly lease: number;
  readonly renewal: Renewal;
  readonly stray: Position | null;
  /** The entry that it has applied because it heard of it, to be told with the next renewal. */
  readonly ahead: { readonly position: Position; readonly genuine: boolean } | null;
  /** The token's valid record is in the cache. */
  readonly cached: boolean;
  /** A read of the token's record is on its way back from the store and says that the token is valid. */
  readonly lookUp: 'none' | 'valid';
  /** A request that began after the revoke holds a cached entry whose lease it has yet to check. */
  readonly held: boolean;
  readonly stream: 'none' | 'unlisted' | 'open';
  /** In the registry; null: not registered. */
  readonly report: Position | null;
  /** Somebody looks whether this replica is dead: ticks since, and whether it has renewed since. Null: nobody. */
  readonly watch: { readonly age: number; readonly renewed: boolean } | null;
}

export interface StoreState {
  /** `gone`: the store was emptied, so the token is unknown. */
  readonly record: 'valid' | 'revoked' | 'gone';
  /** Which server keeps log and registry: another one after a failover or a restart with less than there was. */
  readonly server: number;
  /** The last entry that is there; the log begins with an entry of number 0 that stands for itself. */
  readonly last: number;
  /** Everything up to here was trimmed away. */
  readonly trimmed: number;
  /** Entries beyond this number were appended by the newest server, those up to it by the one before. */
  readonly inherited: number;
}

export interface Revoker {
  readonly stage: 'idle' | 'begun' | 'waiting' | 'returned';
  /** The token's entry; number 0 before it is appended. */
  readonly entry: Position;
  /** Ticks since the append. */
  readonly age: number;
  /** The server as the revoker last saw it, and for how many ticks it knows it. */
  readonly seenServer: number;
  readonly seenAge: number;
}

export interface State {
  readonly replicas: readonly Replica[];
  readonly store: StoreState;
  readonly revoker: Revoker;
  /** What may still happen: see World. */
  readonly otherEntries: number;
  readonly storeLosses: number;
  readonly strays: number;
}

const START: Position = { number: 0, history: 0 };

export const NO_RENEWAL: Renewal = { stage: 'none', age: 0, last: START, entries: 'whole', tells: false };

/** The position of that number, as the log has it. */
export function positionIn(store: StoreState, number: number): Position {
  return { number, history: number <= store.inherited ? store.server - 1 : store.server };
}

export function holds(store: StoreState, { number, history }: Position): boolean {
  return number > store.trimmed && number <= store.last && positionIn(store, number).history === history;
}

export function initialState(world: World): State {
  const replica: Replica = {
    applied: { number: 0, history: -1 },
    lease: world.lease,
    renewal: NO_RENEWAL,
    stray: null,
    ahead: null,
    cached: false,
    lookUp: 'none',
    held: false,
    stream: 'none',
    report: null,
    watch: null,
  };
  return {
    replicas: Array.from({ length: world.replicas }, () => replica),
    store: { record: 'valid', server: 0, last: 0, trimmed: -1, inherited: -1 },
    revoker: { stage: 'idle', entry: START, age: 0, seenServer: 0, seenAge: world.lease },
    otherEntries: world.otherEntries,
    storeLosses: world.storeLosses,
    strays: world.strays,
  };
}

/** Replicas are interchangeable, so the order in which they stand makes no difference. */
export function keyOf({ replicas, store, revoker, otherEntries, storeLosses, strays }: State): string {
  const first = replicas[0] === undefined ? '' : replicaKey(replicas[0]);
  const second = replicas[1] === undefined ? '' : replicaKey(replicas[1]);
  const both = first < second ? first + second : second + first;
  const log = `${store.record[0]}${store.server}${store.last},${store.trimmed},${store.inherited}`;
  const revoking = `${revoker.stage[0]}${positionKey(revoker.entry)}${revoker.age}${revoker.seenServer}${revoker.seenAge}`;
  return `${both}${log}${revoking}${otherEntries}${storeLosses}${strays}`;
}

function replicaKey(replica: Replica): string {
  const { renewal, stray, ahead, report, watch } = replica;
  const call = `${renewal.stage[0]}${renewal.age}${positionKey(renewal.last)}${renewal.entries[0]}${flag(renewal.tells)}`;
  const watching = watch === null ? '-' : `${watch.age}${flag(watch.renewed)}`;
  const flags = `${flag(replica.cached)}${replica.lookUp[0]}${flag(replica.held)}${replica.stream[0]}`;
  const positions = `${positionKey(replica.applied)}${positionKey(stray)}${ahead === null ? '-' : `${positionKey(ahead.position)}${flag(ahead.genuine)}`}${positionKey(report)}`;
  return `${positions}${replica.lease}${call}${flags}${watching};`;
}

const flag = (set: boolean): string => (set ? '1' : '0');
const positionKey = (position: Position | null): string =>
  position === null ? '-' : `${position.history}.${position.number},`;
