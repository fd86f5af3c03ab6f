import type { Model, Step } from './explore.ts';
import { type Context, leaseHolds, replicaSteps } from './replica-steps.ts';
import type { RuleSet } from './rules.ts';
import {
  holds,
  initialState,
  keyOf,
  positionIn,
  type Replica,
  type Revoker,
  type State,
  type StoreState,
  type World,
} from './state.ts';

/** The revocation of one token, in a small world, under a set of rules. */
export function protocol(world: World, rules: RuleSet): Model<State> {
  const context: Context = { world, rules };
  return {
    initial: initialState(world),
    key: keyOf,
    steps: (state) => [
      ...revokerSteps(context, state),
      ...state.replicas.flatMap((_, index) => replicaSteps(context, state, index)),
      ...storeSteps(state),
      tick(context, state),
    ],
    violation: (state) => violation(context, state),
  };
}

function revokerSteps(context: Context, state: State): Step<State>[] {
  const { rules } = context;
  const { revoker, store } = state;
  const found: Step<State>[] = [];
  const add = (label: string, next: Partial<State>): void => {
    found.push({ label: `revoker: ${label}`, state: { ...state, ...next } });
  };
  if (revoker.seenServer !== store.server && revoker.stage !== 'returned') {
    add('sees another server', { revoker: { ...revoker, seenServer: store.server, seenAge: 0 } });
  }
  const written = { ...store, record: store.record === 'gone' ? 'gone' : 'revoked' } as const;
  const appended = { ...store, last: store.last + 1 };
  const append = (stage: Revoker['stage']): Partial<State> => ({
    store: appended,
    revoker: { ...revoker, entry: positionIn(appended, appended.last), age: 0, stage },
  });
  if (revoker.stage === 'idle' && store.record !== 'gone') {
    if (rules.recordBeforeLog) add('writes the record', { store: written, revoker: { ...revoker, stage: 'begun' } });
    else add(`appends ${appended.last}`, append('begun'));
  } else if (revoker.stage === 'begun') {
    if (rules.recordBeforeLog) add(`appends ${appended.last}`, append('waiting'));
    else add('writes the record', { store: written, revoker: { ...revoker, stage: 'waiting' } });
  } else if (revoker.stage === 'waiting') {
    if (isEntryLost(context, state)) add(`appends ${appended.last}, since its entry is lost`, append('waiting'));
    else if (mayReturn(context, state)) {
      add('returns', { revoker: { ...revoker, stage: 'returned', age: 0, seenServer: 0, seenAge: 0 } });
    }
  }
  return found;
}

function isEntryLost({ rules }: Context, { store, revoker }: State): boolean {
  return rules.announceAgain && !holds(store, revoker.entry);
}

function mayReturn({ world, rules }: Context, { revoker, replicas, store }: State): boolean {
  const patience = rules.waitAWholeLease ? world.lease : world.lease - 1;
  if (revoker.age >= patience && rules.waitHasAnEnd) return true;
  const knownServer = revoker.seenServer === store.server && revoker.seenAge >= world.lease;
  if (rules.waitAfterNewServer && !knownServer) return false;
  const acknowledged = replicas.every(({ report }) => report === null || report.number >= revoker.entry.number);
  return acknowledged || !rules.waitForUnacknowledged;
}

function storeSteps(state: State): Step<State>[] {
  const { store, replicas } = state;
  const found: Step<State>[] = [];
  if (state.otherEntries > 0) {
    const last = store.last + 1;
    found.push({
      label: `store: takes entry ${last} of another token`,
      state: { ...state, otherEntries: state.otherEntries - 1, store: { ...store, last } },
    });
  }
  if (state.storeLosses === 0) return found;
  const storeLosses = state.storeLosses - 1;
  const nobody = replicas.map((replica): Replica => ({ ...replica, report: null, watch: null }));
  const lose = (label: string, lost: Partial<StoreState>, rest: Partial<State> = {}): void => {
    found.push({ label: `store: ${label}`, state: { ...state, storeLosses, store: { ...store, ...lost }, ...rest } });
  };
  const server = store.server + 1;
  if (store.last > store.trimmed + 1) {
    lose('trims its log', { trimmed: store.last - 1 });
    // A failover: the record is safe (it waited for its copy), the end of the log and the registry are not.
    const shorter = { server, last: store.last - 1, inherited: store.last - 1 };
    lose('fails over, and the last entry is lost', shorter);
    lose('fails over, and the last entry and the registry are lost', shorter, { replicas: nobody });
  }
  lose('loses log and registry', { server, last: 0, trimmed: -1, inherited: -1 }, { replicas: nobody });
  lose('is emptied', { record: 'gone', server, last: 0, trimmed: -1, inherited: -1 }, { replicas: nobody });
  return found;
}

/** Time passes for everybody alike. Ages stop growing where it makes no more difference. */
function tick({ world }: Context, state: State): Step<State> {
  const older = (age: number): number => Math.min(age + 1, world.lease);
  const { revoker } = state;
  const running = revoker.stage !== 'returned';
  return {
    label: 'a tick',
    state: {
      ...state,
      revoker: running
        ? { ...revoker, age: revoker.entry.number === 0 ? 0 : older(revoker.age), seenAge: older(revoker.seenAge) }
        : revoker,
      replicas: state.replicas.map((replica) => {
        const { renewal, watch } = replica;
        return {
          ...replica,
          lease: Math.max(replica.lease, older(replica.lease)),
          renewal: renewal.stage === 'none' ? renewal : { ...renewal, age: older(renewal.age) },
          watch: watch === null ? null : { ...watch, age: older(watch.age) },
        };
      }),
    },
  };
}

/** P1: once the revoke has returned no request that begins is let in and no stream that could be closed is open; and it returns. */
function violation(context: Context, state: State): string | null {
  const { revoker, replicas } = state;
  if (
    revoker.stage === 'waiting' &&
    revoker.age >= context.world.lease &&
    !isEntryLost(context, state) &&
    !mayReturn(context, state)
  ) {
    return 'the revoke has waited a whole lease and may not return';
  }
  if (revoker.stage !== 'returned') return null;
  for (const [index, replica] of replicas.entries()) {
    const name = index === 0 ? 'A' : 'B';
    const lease = leaseHolds(context, replica);
    if (replica.cached && lease) return `${name} lets a new request in from its cache`;
    if (replica.held && lease)
      return `${name} lets a new request in with the entry that it took before it looked at the lease`;
    if (replica.lookUp === 'valid' && (lease || !context.rules.readAloneWithoutLease)) {
      return `${name} lets a new request in that joins a look-up of before`;
    }
    const { applied } = replica;
    const told = applied.history === revoker.entry.history && applied.number >= revoker.entry.number;
    if (replica.stream === 'open' && told) return `${name} has applied the revocation and leaves a stream open`;
  }
  return null;
}
