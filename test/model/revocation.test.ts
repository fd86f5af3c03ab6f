/*
 * The protocol behind "revoke means revoked", in worlds small enough to try every order of events: two replicas, a
 * revoker, messages that are delayed, lost or late, pauses, read-throughs under way, leases that end, and a store that
 * trims its log, loses the end of it, or everything.
 */
import { describe, expect, it } from 'vitest';
import { type Exploration, explore } from './explore.ts';
import { protocol } from './protocol.ts';
import { RULE_NAMES, RULES, type Rule, rulesWithout } from './rules.ts';
import type { World } from './state.ts';

const SMALL: World = {
  replicas: 1,
  lease: 2,
  otherEntries: 0,
  storeLosses: 0,
  strays: 0,
  forgetting: false,
  streams: false,
  hints: false,
};

const HINTS = 'a replica with hints and a store that loses something';

const WORLDS = {
  'two replicas': { ...SMALL, replicas: 2 },
  'a replica that is forgotten and comes back late': { ...SMALL, forgetting: true, strays: 1 },
  'a replica with streams': { ...SMALL, streams: true, strays: 1, hints: true },
  [HINTS]: { ...SMALL, storeLosses: 1, hints: true },
  'a store that loses something': { ...SMALL, otherEntries: 1, storeLosses: 1 },
} as const satisfies Readonly<Record<string, World>>;

/** For changes of the protocol, with `PORTCULLIS_LONG_MODEL=1`: they take a minute. */
const LARGER_WORLDS: Readonly<Record<string, World>> = {
  'two replicas and a store that loses something': { ...SMALL, replicas: 2, lease: 1, storeLosses: 1 },
  'a store that loses something while a renewal is late': { ...SMALL, otherEntries: 1, storeLosses: 1, strays: 1 },
  'two replicas that are forgotten': { ...SMALL, replicas: 2, lease: 1, forgetting: true, strays: 1 },
};

/** Where the lack of a rule shows, if not already with one replica. */
const SHOWS_IN: Readonly<Partial<Record<Rule, keyof typeof WORLDS>>> = {
  forgetComparesCounter: 'a replica that is forgotten and comes back late',
  streamListedWithDecision: 'a replica with streams',
  hintsComparedWithLog: HINTS,
  reportWhatIsThere: 'a store that loses something',
  waitAfterNewServer: HINTS,
  announceAgain: HINTS,
  flushWhenReplaced: HINTS,
  flushWhenTrimmed: 'a store that loses something',
  flushAfterLapse: HINTS,
};

/** One replica is enough for most. */
function worldFor(rule: Rule): World {
  const name = SHOWS_IN[rule];
  return name === undefined ? SMALL : WORLDS[name];
}

function violationWithout(rule: Rule): Exploration['violation'] {
  return explore(protocol(worldFor(rule), rulesWithout(rule))).violation;
}

function told(violation: Exploration['violation']): string {
  return violation === null ? 'nothing is violated' : [...violation.trace, `=> ${violation.what}`].join('\n');
}

describe('the revocation protocol', () => {
  const larger = process.env['PORTCULLIS_LONG_MODEL'] === '1' ? LARGER_WORLDS : {};
  const worlds: readonly (readonly [string, World])[] = Object.entries({ ...WORLDS, ...larger });
  it.each(worlds)(
    'keeps its promise in every order of events: %s',
    (_name, world) => {
      const { states, violation } = explore(protocol(world, rulesWithout(null)));
      expect(told(violation)).toBe('nothing is violated');
      expect(states).toBeGreaterThan(3000);
    },
    600_000,
  );

  it.each(RULE_NAMES.map((rule) => [rule, RULES[rule]] as const))('needs the rule %s: %s', (rule) => {
    const violation = violationWithout(rule);
    if (process.env['PORTCULLIS_TRACES'] === '1') process.stdout.write(`\nwithout ${rule}:\n${told(violation)}\n`);
    expect(told(violation)).toContain('=> ');
  });

  it('finds a shortest way to a violation, the same one each time', () => {
    const violation = violationWithout('waitForUnacknowledged');
    expect(violation).toEqual(violationWithout('waitForUnacknowledged'));
    expect(violation).toEqual({
      what: 'A lets a new request in that joins a look-up of before',
      trace: [
        'A: sends a renewal',
        'A: the renewal reaches the store (last 0, entries replaced)',
        'A: receives the answer and applies up to 0',
        'A: looks the token up, and the store says valid',
        'revoker: writes the record',
        'revoker: appends 1',
        'revoker: returns',
      ],
    });
  });
});
