import type { Step } from './explore.ts';
import type { RuleSet } from './rules.ts';
import {
  holds,
  NO_RENEWAL,
  type Position,
  positionIn,
  type Renewal,
  type Replica,
  type Revoker,
  type State,
  type StoreState,
  type World,
} from './state.ts';

/** What the registry holds of a replica that reported a position which is not in the log. */
const UNKNOWN: Position = { number: 0, history: -1 };

export interface Context {
  readonly world: World;
  readonly rules: RuleSet;
}

export function leaseHolds({ world, rules }: Context, replica: Replica): boolean {
  // Without the rule only the timer's own step ends a lease, however late that comes (see `timer notices`).
  return rules.leaseComparedWithClock ? replica.lease < world.lease : replica.lease <= world.lease;
}

/** Everything that replica number `index` may do next, or the network with its messages. */
export function replicaSteps(context: Context, state: State, index: number): Step<State>[] {
  const replica = state.replicas[index];
  if (replica === undefined) return [];
  const name = index === 0 ? 'A' : 'B';
  const found: Step<State>[] = [];
  const add = (label: string, next: Partial<Replica>, rest: Partial<State> = {}): void => {
    found.push({ label: `${name}: ${label}`, state: withReplica({ ...state, ...rest }, index, next) });
  };
  renewalSteps(context, state, replica, add);
  requestSteps(context, state, replica, add);
  if (context.world.hints) hintSteps(context, state, replica, add);
  if (context.world.forgetting) forgettingSteps(context, replica, add);
  return found;
}

type Add = (label: string, next: Partial<Replica>, rest?: Partial<State>) => void;

function renewalSteps(context: Context, state: State, replica: Replica, add: Add): void {
  const { renewal } = replica;
  const { store, revoker } = state;
  const registered = (report: Position): Partial<Replica> => ({
    report: holds(store, report) || !context.rules.reportWhatIsThere ? report : UNKNOWN,
    watch: replica.watch === null ? null : { ...replica.watch, renewed: true },
  });
  if (replica.stray !== null) {
    add('the late renewal reaches the store', { ...registered(replica.stray), stray: null });
  }
  if (renewal.stage === 'none') {
    add('sends a renewal', { renewal: { ...NO_RENEWAL, stage: 'sent' } });
  } else if (renewal.stage === 'sent') {
    const reached = reachedBy(context, store, replica);
    const answer = answerTo({ ...replica, applied: reached }, store, revoker);
    add(`the renewal reaches the store (last ${answer.last.number}, entries ${answer.entries})`, {
      ...registered(reached),
      ahead: null,
      renewal: answer,
    });
    if (state.strays > 0 && replica.stray === null) {
      add(
        'gives up the renewal, which is still on its way',
        { renewal: NO_RENEWAL, stray: replica.applied },
        { strays: state.strays - 1 },
      );
    }
    add('the renewal is lost', { renewal: NO_RENEWAL });
  } else if (renewal.stage === 'answered') {
    add('the answer is lost', { renewal: NO_RENEWAL });
    if (context.rules.leaseAfterApply && context.rules.reportAfterApply) {
      // Nothing can be seen of the time between receiving and applying, so it counts as time on the way.
      add(`receives the answer and applies up to ${renewal.last.number}`, applied(context, replica));
      return;
    }
    const lease = context.rules.leaseAfterApply ? {} : { lease: leaseFrom(context, renewal.age) };
    add('receives the answer', { renewal: { ...renewal, stage: 'received' }, ...lease });
  } else {
    add(`applies up to ${renewal.last.number}`, applied(context, replica));
    if (!context.rules.reportAfterApply) {
      add(`reports ${renewal.last.number} before it is applied`, { report: renewal.last });
    }
  }
}

/** What a renewal reports: its position, or the entry that it heard of where the log has just that one next. */
function reachedBy({ rules }: Context, store: StoreState, { applied, ahead }: Replica): Position {
  if (ahead === null) return applied;
  const { position, genuine } = ahead;
  const next = holds(store, applied) && holds(store, position) && position.number === applied.number + 1;
  return next && (genuine || !rules.hintsComparedWithLog) ? position : applied;
}

/** The hint may be late, from a store that is no more, or name another token than the entry at its place. */
function hintSteps(context: Context, { revoker }: State, replica: Replica, add: Add): void {
  const { entry } = revoker;
  if (entry.number === 0 || replica.ahead !== null || replica.renewal.stage !== 'none') return;
  if (entry.number <= replica.applied.number && entry.history === replica.applied.history) return;
  add('hears of the entry and applies it', {
    ...dropped(context, replica),
    ahead: { position: entry, genuine: true },
  });
  add('hears of a made-up entry in its place', { ahead: { position: entry, genuine: false } });
}

function leaseFrom({ rules }: Context, ageSinceSending: number): number {
  return rules.leaseFromSending ? ageSinceSending : 0;
}

function answerTo(replica: Replica, store: StoreState, { entry }: Revoker): Renewal {
  const { applied, renewal } = replica;
  const trimmed = applied.number <= store.trimmed;
  const entries = holds(store, applied) ? 'whole' : trimmed ? 'trimmed' : 'replaced';
  // Where the position is not in the log the answer carries no entries, only that.
  const tells = entries === 'whole' && entry.number > applied.number && holds(store, entry);
  return { stage: 'answered', age: renewal.age, last: positionIn(store, store.last), entries, tells };
}

/** What the replica becomes by applying what it has received. */
function applied(context: Context, replica: Replica): Partial<Replica> {
  const { rules, world } = context;
  const { last, entries, tells, age } = replica.renewal;
  const inStep = { applied: last, lease: leaseFrom(context, age), renewal: NO_RENEWAL };
  const flushed =
    (entries === 'replaced' && rules.flushWhenReplaced) ||
    (entries === 'trimmed' && rules.flushWhenTrimmed) ||
    (replica.lease >= world.lease && rules.flushAfterLapse);
  return flushed || tells ? { ...inStep, ...dropped(context, replica) } : inStep;
}

function dropped({ rules }: Context, replica: Replica): Partial<Replica> {
  // A poisoned look-up answers the requests that wait for it and fills nothing, so it is as good as none.
  const lookUp = rules.applyPoisonsLookUps ? 'none' : replica.lookUp;
  return { cached: false, lookUp, stream: replica.stream === 'unlisted' ? 'unlisted' : 'none' };
}

function requestSteps(context: Context, state: State, replica: Replica, add: Add): void {
  const { rules, world } = context;
  const returned = state.revoker.stage === 'returned';
  const hit = replica.cached && leaseHolds(context, replica);
  if (!rules.leaseComparedWithClock && replica.lease === world.lease) {
    add('the timer notices that the lease is over', { lease: world.lease + 1 });
  }
  // A look-up begins when the store is read: what happens on the way there changes nothing. Other answers fill nothing.
  if (replica.lookUp === 'none' && !hit && state.store.record === 'valid') {
    add('looks the token up, and the store says valid', { lookUp: 'valid' });
  }
  if (replica.lookUp === 'valid') add('the look-up fills the cache', { lookUp: 'none', cached: true });
  if (!rules.leaseCheckedAtUse && returned && replica.cached && !replica.held) {
    add('a new request takes the cached entry, and will look at the lease', { held: true });
  }
  if (!world.streams) return;
  if (hit && replica.stream === 'none' && !returned) {
    add('lets a stream in', { stream: rules.streamListedWithDecision ? 'open' : 'unlisted' });
  }
  if (replica.stream === 'unlisted') add('lists the stream as open', { stream: 'open' });
}

function forgettingSteps({ rules, world }: Context, replica: Replica, add: Add): void {
  const { watch, report } = replica;
  if (report === null) return;
  if (watch === null) add('somebody notes its counter', { watch: { age: 0, renewed: false } });
  else if (watch.age >= world.lease) {
    if (watch.renewed && rules.forgetComparesCounter) add('is seen to live', { watch: null });
    else add('is forgotten as dead', { watch: null, report: null });
  }
}

function withReplica(state: State, index: number, next: Partial<Replica>): State {
  return { ...state, replicas: state.replicas.map((each, at) => (at === index ? { ...each, ...next } : each)) };
}
